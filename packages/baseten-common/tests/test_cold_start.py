"""A deployment that is scaled to zero: its handshakes are parked, refused, or both."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import pytest
from aiohttp import web

from livekit.agents import APIStatusError, APITimeoutError
from livekit.plugins.baseten_common import ApiKey, Endpoint, Transport

Start = Callable[[web.Application], Awaitable[str]]

PATH = "/model-abc1/environments/production/websocket"
BOUND = 20.0  # seconds; only a hang reaches it


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livekit.plugins.baseten_common.transport._COLD_START_PAUSE", 0.01)
    monkeypatch.setattr("livekit.plugins.baseten_common.cold_start._REPORT", 0.05)


class Gateway:
    """Answers handshakes as scripted: how long each is parked, and with which status."""

    def __init__(self) -> None:
        self.script: list[tuple[asyncio.Event | float | None, int]] = []
        self.tried = 0
        self.over = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.tried += 1
        parked, status = self.script.pop(0) if self.script else (None, 101)
        if isinstance(parked, float):
            await asyncio.sleep(parked)
        elif parked is not None:
            await parked.wait()
        if status != 101:
            return web.json_response({"error": "in due course"}, status=status)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        return ws


@pytest.fixture
async def gateway(start: Start) -> Gateway:
    gateway = Gateway()
    app = web.Application()
    app.router.add_get(PATH, gateway.handle)
    gateway.origin = await start(app)
    yield gateway
    gateway.over.set()


async def connect(session: aiohttp.ClientSession, origin: str, **options):
    endpoint = Endpoint.parse(f"{origin.replace('http', 'ws', 1)}{PATH}")
    client = Transport(api_key=ApiKey("s3cret"), http_session=session)
    return await asyncio.wait_for(client.connect(endpoint, what="speech", **options), BOUND)


@contextlib.contextmanager
def told(words: str) -> Iterator[asyncio.Event]:
    """Sets an event once the log says it."""
    event = asyncio.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if words in record.getMessage():
                event.set()

    logger = logging.getLogger("livekit.plugins.baseten")
    handler, level = Watch(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield event
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


async def test_a_parked_handshake_is_waited_for_in_sight(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    with told("no answer yet, as when the deployment is starting, waited") as shown:
        gateway.script = [(0.9, 101)]
        ws = await connect(session, gateway.origin, timeout=0.5, cold_start_timeout=60)
    assert shown.is_set()
    assert ws.acquire_time > 0.5
    assert gateway.tried == 1
    await ws.close()


async def test_without_an_option_a_parked_handshake_ends_at_the_timeout(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    gateway.script = [(gateway.over, 101)]
    with pytest.raises(APITimeoutError, match=r"within 0\.1 s") as caught:
        await connect(session, gateway.origin, timeout=0.1)
    assert caught.value.retryable


async def test_a_parked_handshake_is_waited_for_no_longer_than_asked(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    gateway.script = [(gateway.over, 101)]
    start = time.monotonic()
    with pytest.raises(APITimeoutError, match=r"didn't answer within 1 s") as caught:
        await connect(session, gateway.origin, timeout=0.5, cold_start_timeout=1)
    assert time.monotonic() - start >= 0.99
    assert not caught.value.retryable
    assert gateway.tried == 1


async def test_calls_of_one_outage_share_the_time(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    gateway.script = [(gateway.over, 101)]
    since = time.monotonic() - 100
    with pytest.raises(APITimeoutError, match="didn't answer within 90 s") as caught:
        await connect(session, gateway.origin, timeout=1, cold_start_timeout=90, since=since)
    assert not caught.value.retryable


@pytest.mark.parametrize("status", [408, 500, 504])
async def test_a_parked_handshake_that_ends_without_a_replica_is_made_again(
    status: int, gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    gateway.script = [(0.7, status), (0.7, status)]
    ws = await connect(session, gateway.origin, timeout=0.5, cold_start_timeout=60)
    assert gateway.tried == 3
    await ws.close()


async def test_a_prompt_500_is_no_cold_start(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    gateway.script = [(None, 500)]
    with pytest.raises(APIStatusError, match="in due course") as caught:
        await connect(session, gateway.origin, timeout=10, cold_start_timeout=60)
    assert caught.value.retryable
    assert gateway.tried == 1


async def test_refusals_to_the_end_are_told_with_the_server_s_words(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    gateway.script = [(None, 504)] * 10_000
    with pytest.raises(APIStatusError, match=r"in due course; .* within 0\.2 s") as caught:
        await connect(session, gateway.origin, timeout=5, cold_start_timeout=0.2)
    assert caught.value.status_code == 504
    assert not caught.value.retryable
    assert gateway.tried > 1


async def test_a_shorter_limit_of_the_session_s_owner_doesn_t_end_the_wait(
    gateway: Gateway,
) -> None:
    gateway.script = [(gateway.over, 101)]
    limit = aiohttp.ClientTimeout(total=1)
    async with aiohttp.ClientSession(timeout=limit) as hasty:
        ws = await connect(hasty, gateway.origin, timeout=0.5, cold_start_timeout=60)
        assert gateway.tried == 2
        await ws.close()


async def test_a_line_that_may_have_died_while_parked_is_replaced(
    gateway: Gateway, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livekit.plugins.baseten_common.handshake._LONGEST_SILENCE", 0.7)
    gateway.script = [(gateway.over, 101), (gateway.over, 101)]
    ws = await connect(session, gateway.origin, timeout=0.5, cold_start_timeout=60)
    assert gateway.tried == 3
    await ws.close()


async def test_a_tls_handshake_that_hangs_is_no_cold_start(
    session: aiohttp.ClientSession,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        origin = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(APITimeoutError, match=r"within 0\.2 s") as caught:
            await connect(session, origin, timeout=0.2, cold_start_timeout=60)
    assert caught.value.retryable


@pytest.mark.skipif(sys.platform != "linux", reason="others answer when the backlog is full")
async def test_a_host_that_takes_no_connection_is_no_cold_start(
    session: aiohttp.ClientSession,
) -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # past its backlog the kernel leaves a SYN unanswered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        origin = f"http://127.0.0.1:{full.getsockname()[1]}"
        with pytest.raises(APITimeoutError, match=r"within 0\.2 s") as caught:
            await connect(session, origin, timeout=0.2, cold_start_timeout=60)
    assert caught.value.retryable


async def test_a_wait_that_is_given_up_ends_at_once(
    gateway: Gateway, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    with told("no answer yet") as shown:
        gateway.script = [(gateway.over, 101)]
        waiting = asyncio.create_task(
            connect(session, gateway.origin, timeout=1, cold_start_timeout=60)
        )
        await asyncio.wait_for(shown.wait(), BOUND)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=BOUND)
        assert waiting.cancelled()
        shown.clear()
        # Whatever reports the wait would do so within these.
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(shown.wait(), 0.15)
