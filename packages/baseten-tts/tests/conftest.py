from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from livekit.agents import APIConnectOptions, tts as agents_tts, utils
from livekit.agents.types import (
    DEFAULT_API_CONNECT_OPTIONS,
    USERDATA_TIMED_TRANSCRIPT,
    TimedString,
)
from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import read
from livekit.plugins.baseten_tts import TTS

Make = Callable[..., TTS]
Listen = Callable[..., Awaitable[list[str]]]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "MODEL_ENDPOINT", "TTS_MODEL_ENDPOINT", "TTS_MODEL_ID", "TTS_CHAIN_ID"):
        monkeypatch.delenv(f"BASETEN_{name}", raising=False)


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=10)
    assert not left


@pytest.fixture(autouse=True)
async def http_context(no_task_is_left: None) -> AsyncIterator[None]:
    async with utils.http_context.open():
        yield


@pytest.fixture
async def sandbox(http_context: None) -> AsyncIterator[Sandbox]:
    async with Sandbox(transcriber="tones", synthesizer="tones") as sandbox:
        yield sandbox


def heard(audio: bytes | list[bytes]) -> list[str]:
    """The words in what was handed out; "?" stands for broken audio."""
    data = audio if isinstance(audio, bytes) else b"".join(audio)
    return [word.text for word in read(data, rate=24000)]


async def timed(tts: TTS, text: str) -> list[TimedString]:
    """Speak a text; its pieces with their times."""
    async with tts.stream() as stream:
        stream.push_text(text)
        stream.end_input()
        return [
            piece
            async for event in stream
            for piece in event.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])
        ]


async def is_warm(tts: TTS, sandbox: Sandbox, number: int = 1) -> None:
    """Wait until so many sockets wait, and no other is open."""
    assert tts._sockets is not None
    sockets = tts._sockets
    await sandbox.wait_for(lambda: sandbox.open_sockets == number)
    # The server sees a connection a moment before the client does.
    for _ in range(10000):
        if sockets.idle == number:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{sockets.idle} sockets are waiting")


@pytest.fixture
def listen() -> Listen:
    """Speaks through a stream, text cut as given, and gives the words that were heard."""

    async def listen(
        tts: agents_tts.TTS,
        *pieces: str,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> list[str]:
        async with tts.stream(conn_options=conn_options) as stream:
            for piece in pieces:
                stream.push_text(piece)
            stream.end_input()
            return heard([bytes(event.frame.data) async for event in stream])

    return listen


@pytest.fixture
async def make(sandbox: Sandbox) -> AsyncIterator[Make]:
    """Makes a TTS on the sandbox: over="http", "websocket" or a full URL."""
    made: list[TTS] = []

    def make(over: str = "websocket", **options: Any) -> TTS:
        endpoint = {"http": sandbox.tts_endpoint, "websocket": sandbox.tts_websocket_endpoint}
        options.setdefault("api_key", sandbox.api_key)
        tts = TTS(model_endpoint=endpoint.get(over, over), **options)
        made.append(tts)
        return tts

    yield make
    for tts in made:
        await tts.aclose()
