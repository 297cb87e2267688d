"""A hundred utterances, a third of them interrupted: the next one always finds an open socket."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from livekit.agents import APIConnectOptions
from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.records import SessionRecord
from livekit.plugins.baseten_tts import TTS, SynthesizeStream

from .conftest import Make, heard, is_warm

ONCE = APIConnectOptions(max_retry=0, timeout=10.0)
QWEN: dict[str, Any] = {"model": "qwen3-tts", "voice": "vivian", "task_type": "CustomVoice"}
ORPHEUS: dict[str, Any] = {}
PROTOCOLS = pytest.mark.parametrize(
    ("deployment", "options"),
    [("orpheus2", ORPHEUS), ("qwentts1", QWEN), ("qwentts2", QWEN)],
    ids=["orpheus", "qwen-kept", "qwen-one-shot"],
)
WORDS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]


def unfinished(sandbox: Sandbox) -> list[SessionRecord]:
    return [s for s in sandbox.sessions if s.status == 101 and not s.closed]


async def interrupt(stream: SynthesizeStream, choice: random.Random) -> None:
    """Close it before, while or after the text goes out, or while it is heard."""
    if choice.random() < 0.5:
        for _ in range(choice.randrange(30)):
            await asyncio.sleep(0)
    else:
        stream.end_input()
        for _ in range(choice.randrange(1, 8)):
            await anext(stream)
    await stream.aclose()


async def speak_a_hundred(tts: TTS, sandbox: Sandbox, *, kept: bool) -> None:
    choice = random.Random(17)
    metrics: list[bool] = []
    tts.on("metrics_collected", lambda m: metrics.append(m.connection_reused))
    spoken: set[str] = set()
    interrupted = 0
    tts.prewarm()
    for number in range(100):
        await is_warm(tts, sandbox)
        waiting = {s.number for s in unfinished(sandbox)}
        words = [f"n{number}", *WORDS]
        stream = tts.stream(conn_options=ONCE)
        for word in words:
            stream.push_text(f"{word} ")
        if choice.random() < 0.3:
            await interrupt(stream, choice)
            interrupted += 1
            continue
        stream.end_input()
        assert heard([bytes(e.frame.data) async for e in stream]) == words
        await stream.aclose()
        (took,) = [s for s in sandbox.sessions if any(words[0] in t for t in s.received_texts)]
        # Its handshake was over before there was any text.
        assert took.number in waiting
        # No interrupted text was ever on it; nor any other, where a socket takes only one.
        spoken.add(words[0])
        on_it = set(re.findall(r"n\d+", " ".join(took.received_texts)))
        assert on_it <= spoken if kept else on_it == {words[0]}
    assert interrupted > 20
    assert metrics.count(True) >= 100 - interrupted
    assert False not in metrics
    await is_warm(tts, sandbox)
    await sandbox.wait_for(lambda: len(unfinished(sandbox)) == 1)
    (last,) = unfinished(sandbox)
    assert kept or not any("two" in text for text in last.received_texts)
    await tts.aclose()
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)


@PROTOCOLS
@pytest.mark.timeout(120)
async def test_the_next_utterance_finds_an_open_socket(
    make: Make, sandbox: Sandbox, deployment: str, options: dict[str, Any]
) -> None:
    tts = make(sandbox.url(deployment, "websocket"), **options)
    await speak_a_hundred(tts, sandbox, kept=deployment == "qwentts1")


@pytest.fixture
async def encrypted(http_context: None) -> AsyncIterator[tuple[Sandbox, aiohttp.ClientSession]]:
    async with Sandbox(transcriber="tones", synthesizer="tones", tls=True) as sandbox:
        context = ssl.create_default_context(cafile=str(sandbox.certificate))
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield sandbox, session


@PROTOCOLS
@pytest.mark.timeout(120)
async def test_so_it_does_over_tls(
    encrypted: tuple[Sandbox, aiohttp.ClientSession], deployment: str, options: dict[str, Any]
) -> None:
    sandbox, session = encrypted
    endpoint = sandbox.url(deployment, "websocket")
    assert endpoint.startswith("wss:")
    tts = TTS(api_key=sandbox.api_key, model_endpoint=endpoint, http_session=session, **options)
    await speak_a_hundred(tts, sandbox, kept=deployment == "qwentts1")
