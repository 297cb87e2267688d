from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
import trustme
from aiohttp import web

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError
from livekit.plugins.baseten_common import ApiKey, Closed, Endpoint, Transport, WebSocket

Start = Callable[[web.Application], Awaitable[str]]

KEY = ApiKey("s3cret")
PATH = "/model-abc1/environments/production"


def transport(session: aiohttp.ClientSession) -> Transport:
    return Transport(api_key=KEY, http_session=session)


def endpoint(origin: str, route: str = "websocket", path: str = PATH) -> Endpoint:
    return Endpoint.parse(f"{origin.replace('http', 'ws', 1)}{path}/{route}")


async def echo(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        if message.data == "close":
            await ws.close(code=4001, message=b"model closed")
        elif message.data == "drop":
            assert request.transport is not None
            request.transport.abort()
        elif message.data == "raise":
            await ws.close(code=1011, message=b"Internal Server Error (in model/chainlet).")
        elif message.type == aiohttp.WSMsgType.TEXT:
            await ws.send_str(message.data)
        else:
            await ws.send_bytes(message.data)
    return ws


def application(**routes: object) -> web.Application:
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_route("*", PATH + "/" + path, handler)  # type: ignore[arg-type]
    return app


async def test_messages_pass_both_ways_with_the_key_in_the_header(
    start: Start, session: aiohttp.ClientSession
) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.WebSocketResponse:
        seen.append(request.headers["Authorization"])
        return await echo(request)

    origin = await start(application(websocket=handler))
    ws = await transport(session).connect(endpoint(origin), what="x", timeout=5)
    await ws.send("text")
    await ws.send(b"bytes")
    await ws.send('{"error": "your key, s3cret, is wrong"}')
    await ws.send("they said s3cret")
    assert [await ws.receive(), await ws.receive()] == ["text", b"bytes"]
    assert await ws.receive() == '{"error": "your key, [api key], is wrong"}'
    assert await ws.receive() == "they said s3cret"
    assert ws.acquire_time > 0
    await ws.close()
    assert ws.closed
    assert seen == ["Bearer s3cret"]


async def test_a_close_is_seen_while_nobody_waits_and_after_what_came_before_it(
    start: Start, session: aiohttp.ClientSession
) -> None:
    origin = await start(application(websocket=echo))
    ws = await transport(session).connect(endpoint(origin), what="x", timeout=5)
    await ws.send("one")
    await ws.send("close")
    assert await ws.wait_closed() == Closed(4001, "model closed")
    assert await ws.receive() == "one"
    closed = await ws.receive()
    assert isinstance(closed, Closed)
    assert "model closed" in str(ws.error(closed))
    with pytest.raises(APIStatusError, match="model closed"):
        await ws.send("late")


@pytest.mark.parametrize(("how", "code"), [("drop", 1006), ("raise", 1011)])
async def test_how_a_connection_ended(
    how: str, code: int, start: Start, session: aiohttp.ClientSession
) -> None:
    origin = await start(application(websocket=echo))
    ws = await transport(session).connect(endpoint(origin), what="x", timeout=5)
    await ws.send(how)
    closed = await ws.receive(timeout=5)
    assert isinstance(closed, Closed)
    assert closed.code == code


async def test_waiting_in_vain_leaves_the_connection_usable(
    start: Start, session: aiohttp.ClientSession
) -> None:
    origin = await start(application(websocket=echo))
    ws = await transport(session).connect(endpoint(origin), what="speech", timeout=5)
    with pytest.raises(APITimeoutError, match="speech"):
        await ws.receive(timeout=0.01)
    waiting = asyncio.create_task(ws.receive())
    await asyncio.sleep(0)
    waiting.cancel()
    await ws.send("still here")
    assert await ws.receive(timeout=5) == "still here"
    await ws.close()


async def test_abort_says_goodbye_without_waiting(
    start: Start, session: aiohttp.ClientSession
) -> None:
    ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.WebSocketResponse:
        ws = await echo(request)
        ended.set_result(ws.close_code)
        return ws

    origin = await start(application(websocket=handler))
    ws = await transport(session).connect(endpoint(origin), what="x", timeout=5)
    ws.abort()
    assert await asyncio.wait_for(ended, 5) == 1000
    await ws.wait_closed()


async def test_a_dropped_websocket_closes(start: Start, session: aiohttp.ClientSession) -> None:
    ended = asyncio.Event()

    async def handler(request: web.Request) -> web.WebSocketResponse:
        try:
            return await echo(request)
        finally:
            ended.set()

    origin = await start(application(websocket=handler))
    ws = await transport(session).connect(endpoint(origin), what="x", timeout=5)
    gone = weakref.ref(ws)
    del ws
    gc.collect()
    assert gone() is None
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_peer_that_answers_no_ping_is_taken_for_dead(
    start: Start, session: aiohttp.ClientSession
) -> None:
    release = asyncio.Event()

    async def deaf(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        await release.wait()
        return ws

    origin = await start(application(websocket=deaf))
    ws = await transport(session).connect(endpoint(origin), what="x", timeout=5, heartbeat=0.1)
    closed = await ws.receive(timeout=10)
    release.set()
    assert isinstance(closed, Closed)
    assert closed.code == 1006


async def test_a_flood_is_held_back_and_nothing_is_lost(
    start: Start, session: aiohttp.ClientSession
) -> None:
    async def flood(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        for number in range(40):
            await ws.send_bytes(bytes([number]) * 2**19)
        await ws.close()
        return ws

    origin = await start(application(websocket=flood))
    ws = await transport(session).connect(endpoint(origin), what="x", timeout=5)
    seen = []
    while isinstance(message := await ws.receive(timeout=20), bytes):
        seen.append(message[0])
    assert seen == list(range(40))
    assert message == Closed(1000)


async def test_a_peer_that_takes_nothing_holds_nobody_up(
    start: Start, session: aiohttp.ClientSession
) -> None:
    release = asyncio.Event()

    async def stuck(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        request.transport.pause_reading()
        await release.wait()
        return ws

    origin = await start(application(websocket=stuck))
    ws = await transport(session).connect(endpoint(origin), what="x", timeout=5, heartbeat=0.2)

    async def flood() -> None:
        while True:
            await ws.send(bytes(2**20))

    with pytest.raises(APIError):
        await asyncio.wait_for(flood(), 20)
    release.set()
    await ws.wait_closed()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 429, 500, 503, 504])
async def test_a_refused_handshake_gives_the_server_s_words(
    status: int, start: Start, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.json_response(
            {"error": f"words for {request.headers['Authorization']}"},
            status=status,
            headers={"X-BASETEN-REQUEST-ID": "r7"},
        )

    origin = await start(application(websocket=refuse))
    with caplog.at_level(logging.DEBUG), pytest.raises(APIStatusError, match="words for") as caught:
        await transport(session).connect(endpoint(origin), what="x", timeout=5)
    error = caught.value
    assert (error.status_code, error.request_id) == (status, "r7")
    assert error.retryable == (status in (408, 429, 500, 503, 504))
    # aiohttp's exception holds the request's headers, and some loggers follow hidden links too.
    assert error.__cause__ is error.__context__ is None
    assert "s3cret" not in repr(error) + caplog.text


async def test_a_silent_peer_times_out(session: aiohttp.ClientSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        origin = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(APITimeoutError):
            await transport(session).connect(endpoint(origin), what="x", timeout=0.05)


async def test_nobody_listening(session: aiohttp.ClientSession) -> None:
    with socket.socket() as taken:  # and so by nobody else
        taken.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(APIConnectionError) as caught:
            await transport(session).connect(endpoint(origin), what="x", timeout=5)
        assert caught.value.retryable
        with pytest.raises(APIConnectionError):
            async with transport(session).post(origin, json={}, what="x", timeout=5):
                pass


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("status", [400, 404])
async def test_a_chain_falls_back_to_run_remote_once_and_remembers(
    status: int, raises: bool, start: Start
) -> None:
    tried: list[str] = []

    async def count(request: web.Request) -> web.StreamResponse:
        tried.append(request.path.rpartition("/")[2])
        if tried[-1] == "websocket":
            return web.Response(status=status)
        return await echo(request)

    app = web.Application()
    app.router.add_get("/chain-abc1/environments/production/{route}", count)
    chain = endpoint(await start(app), path="/chain-abc1/environments/production")
    async with aiohttp.ClientSession(raise_for_status=raises) as session:
        shared = transport(session)
        for _ in range(2):
            await (await shared.connect(chain, what="x", timeout=5)).close()
    assert tried == ["websocket", "run_remote", "run_remote"]


async def test_a_chain_that_answers_on_neither_path_shows_the_first_answer(
    start: Start, session: aiohttp.ClientSession
) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=404, text=f"no {request.path.rpartition('/')[2]}")

    app = web.Application()
    app.router.add_get("/{path:.*}", refuse)
    chain = endpoint(await start(app), path="/chain-abc1/environments/production")
    with pytest.raises(APIStatusError, match="no websocket"):
        await transport(session).connect(chain, what="x", timeout=5)


async def test_a_cold_start_is_waited_for_visibly_within_the_bound(
    start: Start,
    session: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "livekit.plugins.baseten_common.transport._COLD_START_PAUSE", 0.01, raising=True
    )
    tries = 0

    async def loading(request: web.Request) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        if tries <= 3:
            body = {"error": "Model with name model is not ready."}
            return web.json_response(body, status=503)
        return await echo(request)

    origin = await start(application(websocket=loading))
    client = transport(session)
    with pytest.raises(APIStatusError, match="not ready"):
        await client.connect(endpoint(origin), what="x", timeout=5)
    assert tries == 1
    with caplog.at_level(logging.INFO):
        ws = await client.connect(endpoint(origin), what="x", timeout=5, cold_start_timeout=30)
    await ws.close()
    assert "the deployment is starting" in caplog.text


@pytest.mark.parametrize("way", ["websocket", "post"])
async def test_a_redirect_is_not_followed(
    way: str, start: Start, session: aiohttp.ClientSession
) -> None:
    reached: list[str] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        reached.append(request.path)
        return await echo(request)

    other = await start(application(websocket=elsewhere))

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(f"{other}{PATH}/websocket")

    origin = await start(application(websocket=redirect))
    with pytest.raises(APIStatusError, match="redirected") as caught:
        if way == "websocket":
            await transport(session).connect(endpoint(origin), what="x", timeout=5)
        else:
            url = f"{origin}{PATH}/websocket"
            async with transport(session).post(url, json={}, what="x", timeout=5):
                pass
    assert not caught.value.retryable
    assert reached == []


async def test_a_request_of_the_session_s_owner_still_follows_redirects(
    start: Start, session: aiohttp.ClientSession
) -> None:
    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{PATH}/there")

    async def there(request: web.Request) -> web.Response:
        return web.Response(text="arrived")

    origin = await start(application(websocket=echo, here=redirect, there=there))
    await (await transport(session).connect(endpoint(origin), what="x", timeout=5)).close()
    async with session.get(f"{origin}{PATH}/here") as response:
        assert await response.text() == "arrived"


async def test_post_streams_a_body_of_any_length(
    start: Start, session: aiohttp.ClientSession
) -> None:
    async def predict(request: web.Request) -> web.StreamResponse:
        assert await request.json() == {"prompt": "hi"}
        response = web.StreamResponse(headers={"X-BASETEN-REQUEST-ID": "r8"})
        response.content_type = "audio/wav"
        await response.prepare(request)
        for part in (b"a" * 3, b"b" * 100_000, b"c"):
            await response.write(part)
        return response

    origin = await start(application(predict=predict))
    async with transport(session).post(
        f"{origin}{PATH}/predict", json={"prompt": "hi"}, what="x", timeout=5
    ) as answer:
        assert (answer.content_type, answer.request_id) == ("audio/wav", "r8")
        assert await answer.read(limit=2**20) == b"aaa" + b"b" * 100_000 + b"c"
    async with transport(session).post(
        f"{origin}{PATH}/predict", json={"prompt": "hi"}, what="x", timeout=5
    ) as answer:
        with pytest.raises(APIError, match="larger than 10 bytes"):
            await answer.read(limit=10)


async def test_a_body_that_breaks_off_or_stalls_is_an_error(
    start: Start, session: aiohttp.ClientSession
) -> None:
    release = asyncio.Event()

    async def predict(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        if (await request.json())["prompt"] == "break":
            assert request.transport is not None
            request.transport.abort()
        else:
            await release.wait()
        return response

    origin = await start(application(predict=predict))
    for prompt, kind in (("break", APIConnectionError), ("stall", APITimeoutError)):
        with pytest.raises(kind):
            async with transport(session).post(
                f"{origin}{PATH}/predict",
                json={"prompt": prompt},
                what="x",
                timeout=5,
                read_timeout=1,
            ) as answer:
                await answer.read(limit=100)
    release.set()


async def test_wake_posts_to_the_wake_route(start: Start, session: aiohttp.ClientSession) -> None:
    woken: list[str] = []

    async def wake(request: web.Request) -> web.Response:
        woken.append(request.method)
        return web.Response(status=202)

    origin = await start(application(wake=wake))
    await transport(session).wake(endpoint(origin))
    assert woken == ["POST"]


async def test_without_a_job_or_a_session_livekit_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="http_context"):
        _ = Transport(api_key=KEY).session


@pytest.fixture
async def tls(start: Start) -> AsyncIterator[tuple[str, trustme.CA]]:
    """A WebSocket and HTTP server for the name localhost, whose CA nobody knows."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    runner = web.AppRunner(application(websocket=echo), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    yield str(runner.addresses[0][1]), ca
    await runner.cleanup()


# Python 3.10 leaves the transport of a failed TLS handshake to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function _SSLProtocolTransport.__del__"
    ":pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_tls_is_verified(host: str, tls: tuple[str, trustme.CA]) -> None:
    port, ca = tls
    async with aiohttp.ClientSession() as unknowing:
        with pytest.raises(APIConnectionError, match="certificate") as caught:
            await transport(unknowing).connect(
                Endpoint.parse(f"wss://{host}:{port}{PATH}/websocket"), what="x", timeout=5
            )
        assert not caught.value.retryable
        with pytest.raises(APIConnectionError, match="certificate"):
            async with transport(unknowing).post(
                f"https://{host}:{port}{PATH}/websocket", json={}, what="x", timeout=5
            ):
                pass
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    connector = aiohttp.TCPConnector(ssl=trusting)
    async with aiohttp.ClientSession(connector=connector) as session:
        dialling = transport(session).connect(
            Endpoint.parse(f"wss://{host}:{port}{PATH}/websocket"), what="x", timeout=5
        )
        if host == "localhost":
            await (await dialling).close()
        else:
            with pytest.raises(APIConnectionError, match="certificate"):
                await dialling
    gc.collect()  # while the warning is passed over


async def test_what_is_sent_at_once_arrives_in_order_and_never_piles_up(
    start: Start, session: aiohttp.ClientSession
) -> None:
    read = asyncio.Event()
    seen: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()

    async def late(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        request.transport.pause_reading()
        await read.wait()
        request.transport.resume_reading()
        messages = [(await ws.receive()).data]
        while messages[-1] != b"last":
            messages.append((await ws.receive()).data)
        seen.set_result(messages)
        await ws.receive()
        return ws

    origin = await start(application(websocket=late))
    ws = await transport(session).connect(endpoint(origin), what="x", timeout=5)
    sent = []
    while len(sent) < 10000 and ws.send_nowait(message := len(sent).to_bytes(4, "big") * 2048):
        sent.append(message)
    assert 0 < len(sent) < 10000  # 80 MB: the peer's buffers are full long before
    read.set()
    await asyncio.wait_for(ws.send(b"last"), 20)
    came = await asyncio.wait_for(seen, 20)
    assert len(came) == len(sent) + 1
    assert all(one == other for one, other in zip(came, [*sent, b"last"], strict=True))
    assert not ws.send_nowait(bytes(2**20))  # which could fill the buffer
    await ws.close(timeout=20)
    assert not ws.send_nowait(b"late")
    with pytest.raises(APIError):
        await ws.send(b"late")


@pytest.mark.parametrize("reads_on", [True, False])
async def test_a_close_sends_what_is_under_way_and_is_bounded_by_a_peer_that_takes_nothing(
    reads_on: bool, start: Start, session: aiohttp.ClientSession
) -> None:
    closing, given_up = asyncio.Event(), asyncio.Event()
    seen: asyncio.Future[tuple[list[bytes], int | None]]
    seen = asyncio.get_running_loop().create_future()

    async def slow(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        request.transport.pause_reading()
        await (closing if reads_on else given_up).wait()
        request.transport.resume_reading()
        seen.set_result(([message.data async for message in ws], ws.close_code))
        return ws

    origin = await start(application(websocket=slow))
    ws = await transport(session).connect(endpoint(origin), what="x", timeout=5)
    sent = []
    while ws.send_nowait(message := len(sent).to_bytes(4, "big") * 2048):
        sent.append(message)
    task = asyncio.create_task(ws.close(timeout=20 if reads_on else 0.05))
    await asyncio.sleep(0)
    closing.set()
    await asyncio.wait_for(task, 20)
    given_up.set()
    came, code = await asyncio.wait_for(seen, 20)
    if reads_on:
        assert came == sent
        assert code == 1000
    else:
        assert len(came) < len(sent)
        assert code != 1000


async def _talking(start: Start, session: aiohttp.ClientSession) -> WebSocket:
    origin = await start(application(websocket=echo))
    return await transport(session).connect(endpoint(origin), what="speech", timeout=5)


@pytest.mark.parametrize("early", [True, False])
async def test_a_listener_takes_what_waits_and_what_comes_and_leaves_the_rest(
    early: bool, start: Start, session: aiohttp.ClientSession
) -> None:
    ws = await _talking(start, session)
    taken: list[str | bytes] = []

    def take(message: str | bytes) -> str | None:
        taken.append(message)
        return "enough" if message == "end" else None

    listening = asyncio.create_task(ws.listen(take, patience=lambda: 20.0))
    if early:
        await asyncio.sleep(0)
    else:
        listening.cancel()
    for message in ("one", "two", "end", "rest", "close"):
        await ws.send(message)
    closed = await ws.wait_closed()
    if not early:
        listening = asyncio.create_task(ws.listen(take, patience=lambda: 20.0))
    assert await listening == "enough"
    assert taken == ["one", "two", "end"]
    assert await ws.receive() == "rest"
    assert await ws.listen(take, patience=lambda: 20.0) == closed == Closed(4001, "model closed")
    assert taken == ["one", "two", "end"]


async def test_listening_ends_with_an_error_with_patience_or_when_given_up_and_loses_nothing(
    start: Start, session: aiohttp.ClientSession
) -> None:
    ws = await _talking(start, session)

    def refuse(message: str | bytes) -> None:
        raise APIError("not this", body=None)

    listening = asyncio.create_task(ws.listen(refuse, patience=lambda: 20.0))
    await ws.send("what")
    with pytest.raises(APIError, match="not this"):
        await listening
    granted = iter([0.01, 0.01])

    def patience() -> float:
        for left in granted:
            return left
        raise APITimeoutError("too long")

    with pytest.raises(APITimeoutError, match="too long"):
        await ws.listen(refuse, patience=patience)
    listening = asyncio.create_task(ws.listen(refuse, patience=lambda: 20.0))
    await asyncio.sleep(0)
    listening.cancel()
    await ws.send("still here")
    assert await ws.receive(timeout=5) == "still here"
    await ws.close()
