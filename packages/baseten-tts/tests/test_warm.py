"""Connections are dialled ahead, watched, replaced and given up."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
from typing import Literal

import aiohttp
import pytest

from livekit.agents import APIConnectOptions, utils
from livekit.plugins.baseten_common import timeout
from livekit.plugins.baseten_sandbox import BackgroundSandbox, Fault, Sandbox
from livekit.plugins.baseten_tts import TTS

from .conftest import Listen, Make, heard, is_warm

ONCE = APIConnectOptions(max_retry=0, timeout=5.0)


async def test_the_first_utterance_is_as_warm_as_any(
    make: Make, listen: Listen, sandbox: Sandbox
) -> None:
    tts = make()
    tts.prewarm()
    tts.prewarm()  # as often as one likes
    await is_warm(tts, sandbox)
    reused: list[bool] = []
    tts.on("metrics_collected", lambda m: reused.append(m.connection_reused))
    for number in range(3):
        await is_warm(tts, sandbox)
        assert await listen(tts, "hello there") == ["hello", "there"]
        # Its text went over the socket that was open before there was any.
        assert sandbox.sessions[number].received_texts[1:3] == ["hello", "there"]
    assert reused == [True] * 3
    await is_warm(tts, sandbox)
    assert len(sandbox.sessions) == 4


async def test_over_http_metrics_tell_a_connection_that_was_open(
    make: Make, listen: Listen, sandbox: Sandbox
) -> None:
    told: asyncio.Queue[tuple[bool, bool]] = asyncio.Queue()

    def hear(tts: TTS) -> None:
        tts.on(
            "metrics_collected",
            lambda m: told.put_nowait((m.connection_reused, m.acquire_time > 0)),
        )

    async with timeout(30), aiohttp.ClientSession() as session:
        cold = make("http", http_session=session, warm_lifetime=0)
        hear(cold)
        await cold.synthesize("hello", conn_options=ONCE).collect()
        assert await told.get() == (False, True)
    async with timeout(30), aiohttp.ClientSession() as session:
        warm = make("http", http_session=session)
        hear(warm)
        warm.prewarm()
        await is_stocked(session, 4)
        await listen(warm, SENTENCES, conn_options=ONCE)
        assert await told.get() == (True, True)
        await is_stocked(session, 4)
        await warm.synthesize("hello", conn_options=ONCE).collect()
        assert await told.get() == (True, True)


async def test_without_warm_sockets_none_is_left(
    make: Make, listen: Listen, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(do="park", seconds=0.2))
    tts = make(warm_sockets=0)
    told: list[tuple[bool, bool]] = []
    tts.on("metrics_collected", lambda m: told.append((m.connection_reused, m.acquire_time > 0.19)))
    tts.prewarm()
    await listen(tts, "hello")
    assert told == [(False, True)]
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)
    assert len(sandbox.sessions) == 1


async def test_a_number_of_them_can_wait(make: Make, listen: Listen, sandbox: Sandbox) -> None:
    tts = make(warm_sockets=3)
    tts.prewarm()
    await is_warm(tts, sandbox, 3)
    await listen(tts, "hello")
    await is_warm(tts, sandbox, 3)


@pytest.mark.parametrize(
    "death", [Fault(do="reset"), Fault(do="close", code=1012), Fault(do="close", code=1000)]
)
async def test_one_that_dies_is_replaced_before_it_is_needed(
    make: Make, listen: Listen, sandbox: Sandbox, death: Fault
) -> None:
    tts = make()
    tts.prewarm()
    await is_warm(tts, sandbox)
    assert await sandbox.strike(death) == 1
    await sandbox.wait_sessions(2)
    await is_warm(tts, sandbox)
    async with tts.stream(conn_options=ONCE) as stream:
        stream.push_text("still here")
        stream.end_input()
        assert heard([bytes(e.frame.data) async for e in stream]) == ["still", "here"]


@pytest.mark.parametrize(
    "death",
    [
        Fault(do="reset", on="receive", after=1),
        Fault(do="close", code=1000, on="receive", after=1),
        Fault(do="close", code=1011, on="receive", after=2),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_one_that_dies_on_first_use_is_redialled_once(
    make: Make, sandbox: Sandbox, death: Fault, whole: bool
) -> None:
    sandbox.faults.add(death)
    tts = make()
    errors: list[object] = []
    tts.on("error", errors.append)
    tts.prewarm()
    await is_warm(tts, sandbox)
    if whole:
        frame = await tts.synthesize("all of it", conn_options=ONCE).collect()
        audio = bytes(frame.data)
    else:
        async with tts.stream(conn_options=ONCE) as stream:
            for piece in ("al", "l of", " it"):
                stream.push_text(piece)
            stream.end_input()
            audio = b"".join([bytes(e.frame.data) async for e in stream])
    assert heard(audio) == ["all", "of", "it"]
    assert errors == []


async def test_one_that_can_not_be_written_to_any_more_is_redialled_too(
    make: Make, listen: Listen, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts = make()
    errors: list[object] = []
    tts.on("error", errors.append)
    tts.prewarm()
    await is_warm(tts, sandbox)
    send = aiohttp.ClientWebSocketResponse.send_str
    refused: list[str] = []

    async def once(ws: aiohttp.ClientWebSocketResponse[bool], data: str) -> None:
        if not refused:
            # As between the loss of a connection and the reader's next step.
            refused.append(data)
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
        await send(ws, data)

    monkeypatch.setattr(aiohttp.ClientWebSocketResponse, "send_str", once)
    assert await listen(tts, "all of it", conn_options=ONCE) == ["all", "of", "it"]
    assert errors == []
    assert refused


async def test_a_server_that_refuses_is_not_dialled_for_ever(make: Make, sandbox: Sandbox) -> None:
    tts = make(api_key="wrong")
    tts.prewarm()
    assert tts._sockets is not None
    await sandbox.wait_sessions(1)
    while tts._sockets._filling:
        await asyncio.wait(tts._sockets._filling, timeout=5)
    assert len(sandbox.sessions) == 1


async def test_nobody_waits_for_the_pause_between_two_tries(make: Make, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(do="status", status=503))
    tts = make()
    tts.prewarm()
    assert tts._sockets is not None
    await sandbox.wait_sessions(1, closed=True)
    while tts._sockets._under_way:
        await asyncio.wait(tts._sockets._under_way, timeout=5)
    async with tts.synthesize("hello", conn_options=ONCE) as stream:
        assert heard([bytes(e.frame.data) async for e in stream]) == ["hello"]
        assert not stream._connection_reused
    assert sandbox.sessions[1].received_texts


def test_a_tts_can_go_from_one_loop_to_the_next() -> None:
    async def say(tts: TTS, text: str) -> list[str]:
        async with utils.http_context.open(), tts.stream(conn_options=ONCE) as stream:
            stream.push_text(text)
            stream.end_input()
            return heard([bytes(e.frame.data) async for e in stream])

    with BackgroundSandbox(transcriber="tones", synthesizer="tones") as sandbox:
        for endpoint in (sandbox.tts_websocket_endpoint, sandbox.tts_endpoint):
            tts = TTS(api_key=sandbox.api_key, model_endpoint=endpoint)
            for words in (["hello", "there"], ["hello", "again"]):
                # A context of its own, without the HTTP session of the other tests' loop.
                run = contextvars.Context().run
                assert run(asyncio.run, say(tts, " ".join(words))) == words


async def test_one_on_its_way_is_waited_for(make: Make, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(do="park", seconds=0.2))
    tts = make()
    tts.prewarm()
    await tts.synthesize("hello", conn_options=ONCE).collect()
    assert sandbox.sessions[0].received_texts  # the one of prewarm(), not a second one


async def test_a_handshake_that_was_under_way_serves_the_next_utterance(
    make: Make, listen: Listen, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(do="park", seconds=0.2))
    tts = make()
    async with tts.stream(conn_options=ONCE) as stream:
        stream.push_text("never mind")
        await sandbox.wait_sessions(1)
    assert await listen(tts, "hello there", conn_options=ONCE) == ["hello", "there"]
    assert "hello" in sandbox.sessions[0].received_texts


async def test_a_handshake_that_fails_later_is_nobodys_error(
    make: Make, listen: Listen, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(do="park", seconds=0.2, status=503, body={"error": "not ready"}))
    tts = make()
    async with tts.stream(conn_options=ONCE) as stream:
        stream.push_text("never mind")
        await sandbox.wait_sessions(1)
    assert await listen(tts, "hello there", conn_options=ONCE) == ["hello", "there"]


def connections() -> tuple[aiohttp.TraceConfig, list[str]]:
    """What tells of a session's connections, and the list that it tells it to."""
    seen: list[str] = []
    trace = aiohttp.TraceConfig()

    async def reused(*_: object) -> None:
        seen.append("reused")

    async def created(*_: object) -> None:
        seen.append("created")

    trace.on_connection_reuseconn.append(reused)
    trace.on_connection_create_start.append(created)
    return trace, seen


async def test_a_socket_is_dialled_over_a_connection_opened_ahead(sandbox: Sandbox) -> None:
    trace, seen = connections()
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        tts = TTS(
            api_key=sandbox.api_key,
            model_endpoint=sandbox.tts_websocket_endpoint,
            http_session=session,
        )
        tts.prewarm()
        connector = session.connector
        assert connector is not None
        for _ in range(3):
            await is_warm(tts, sandbox)
            async with timeout(5):
                while sum(map(len, connector._conns.values())) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            await tts.synthesize("hello").collect()
        await is_warm(tts, sandbox)
        await tts.aclose()
    assert seen == ["created", "reused", "reused", "reused"]
    assert len(sandbox.sessions) == 4


async def test_one_that_hangs_is_not_waited_for_all_the_time(make: Make, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(do="park"))
    tts = make()
    tts.prewarm()
    await sandbox.wait_sessions(1)
    options = APIConnectOptions(max_retry=0, timeout=2.0)
    await tts.synthesize("hello", conn_options=options).collect()
    assert sandbox.sessions[1].received_texts


async def test_they_are_given_up_when_nobody_speaks(
    make: Make, listen: Listen, sandbox: Sandbox
) -> None:
    tts = make(warm_lifetime=1.5)
    tts.prewarm()
    await is_warm(tts, sandbox)
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)
    assert len(sandbox.sessions) == 1
    assert await listen(tts, "back again") == ["back", "again"]
    await is_warm(tts, sandbox)


async def test_a_tts_that_is_dropped_stops_connecting_ahead(
    sandbox: Sandbox, listen: Listen
) -> None:
    tts: TTS | None = TTS(api_key=sandbox.api_key, model_endpoint=sandbox.tts_endpoint)
    assert tts is not None
    await listen(tts, "hello")
    task = tts._spares._task
    assert task is not None
    assert not task.done()
    tts = None
    gc.collect()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


async def test_a_tts_that_is_dropped_leaves_nothing_open(sandbox: Sandbox, listen: Listen) -> None:
    tts: TTS | None = TTS(api_key=sandbox.api_key, model_endpoint=sandbox.tts_websocket_endpoint)
    assert tts is not None
    tts.prewarm()
    await listen(tts, "hello")
    await is_warm(tts, sandbox)
    tts = None
    gc.collect()
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)


async def test_prewarm_without_a_loop_or_a_session_does_nothing(sandbox: Sandbox) -> None:
    tts = TTS(api_key="k", model_endpoint=sandbox.tts_websocket_endpoint)
    await asyncio.to_thread(tts.prewarm)
    TTS(api_key="k", model_endpoint=sandbox.tts_endpoint).prewarm()
    await tts.aclose()
    assert sandbox.sessions == []


async def test_over_http_a_connection_waits_for_the_first_request_and_for_the_next(
    sandbox: Sandbox,
) -> None:
    trace, seen = connections()
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        tts = TTS(
            api_key=sandbox.api_key, model_endpoint=sandbox.tts_endpoint, http_session=session
        )
        tts.prewarm()
        connector = session.connector
        assert connector is not None
        async with timeout(5):
            while not connector._conns:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert sandbox.sessions == []
        await tts.synthesize("hello").collect()
        stream = tts.synthesize("one two three four five six")
        await anext(stream)
        await stream.aclose()
        await tts.synthesize("hello").collect()
        await tts.aclose()
    assert seen == ["reused"] * 3
    assert len(sandbox.sessions) == 3


async def is_stocked(session: aiohttp.ClientSession, number: int) -> None:
    """Wait until so many connections are idle in the session's pool."""
    connector = session.connector
    assert connector is not None
    async with timeout(10):
        while sum(map(len, connector._conns.values())) < number:  # noqa: ASYNC110
            await asyncio.sleep(0)


SENTENCES = (
    "The first of them is rather long, you know. And the second one is no shorter at all. Nor this."
)


@pytest.mark.parametrize(("deployment", "model"), [("orpheus1", "orpheus"), ("kokoro1", "generic")])
async def test_over_http_each_request_finds_one_even_after_two_interruptions_at_once(
    sandbox: Sandbox, deployment: str, model: Literal["orpheus", "generic"]
) -> None:
    choice = random.Random(5)
    trace, seen = connections()
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        tts = TTS(
            model=model,
            api_key=sandbox.api_key,
            model_endpoint=sandbox.url(deployment, "predict"),
            http_session=session,
        )
        tts.prewarm()
        for _ in range(15):
            await is_stocked(session, 4)
            for _ in range(2):
                stream = tts.stream(conn_options=ONCE)
                stream.push_text(SENTENCES)
                stream.end_input()
                for _ in range(choice.randrange(1, 4)):
                    await anext(stream)
                await stream.aclose()
        await tts.aclose()
    assert "created" not in seen
    assert len(seen) >= 30


async def test_connections_are_never_gone_while_they_are_counted(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as session:
        tts = TTS(
            api_key=sandbox.api_key, model_endpoint=sandbox.tts_endpoint, http_session=session
        )
        tts.prewarm()
        await is_stocked(session, 4)
        connector = session.connector
        assert connector is not None
        tts._spares._wanted.set()
        for _ in range(20):
            await asyncio.sleep(0)
            assert sum(map(len, connector._conns.values())) == 4
        await tts.aclose()
