"""Rarer faults: half-open sockets, repeated and reordered messages, distance, random trouble."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from livekit.agents import APIConnectOptions, APIError
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_tts import TTS

from .conftest import Listen, Make, heard

AGAIN = APIConnectOptions(max_retry=3, retry_interval=0.01, timeout=10.0)
HASTY = APIConnectOptions(max_retry=0, timeout=0.5)
TEXT = "one two three four five six seven eight nine ten eleven twelve."
WORDS = TEXT.split()
QWEN = {"model": "qwen3-tts", "voice": "vivian"}


async def attempt(
    tts: TTS, options: APIConnectOptions, text: str = TEXT
) -> tuple[list[str], Exception | None]:
    audio = b""
    try:
        async with tts.stream(conn_options=options) as stream:
            stream.push_text(text)
            stream.end_input()
            async for event in stream:
                audio += bytes(event.frame.data)
    except Exception as error:
        return heard(audio), error
    return heard(audio), None


@pytest.mark.parametrize("over", ["http", "websocket"])
async def test_a_half_open_connection_is_an_error_in_time(
    make: Make, sandbox: Sandbox, over: str
) -> None:
    if over == "http":
        fault = Fault(do="silence", on="send", unit="bytes", after=20_000)
    else:
        fault = Fault(do="silence", on="send", kind="binary", after=2)
    sandbox.faults.add(fault, times=None)
    words, error = await asyncio.wait_for(attempt(make(over, warm_sockets=0), HASTY), 30)
    assert isinstance(error, APIError)
    assert len(words) < len(WORDS)


async def test_a_session_that_raises_for_a_status_changes_nothing(
    make: Make, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(do="status", status=400, body={"error": "the very words"}))
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        _, error = await attempt(make("http", http_session=session), AGAIN)
    assert "the very words" in str(error)


@pytest.mark.parametrize("do", ["duplicate", "swap"])
@pytest.mark.parametrize("match", ["audio.start", "audio.done", "session.done"])
async def test_repeated_and_reordered_events_are_whole_or_an_error(
    make: Make, sandbox: Sandbox, do: Any, match: str
) -> None:
    sandbox.faults.add(Fault(do=do, on="send", match=match))
    tts = make(sandbox.qwen_tts_endpoint, warm_sockets=0, **QWEN)
    words, error = await asyncio.wait_for(attempt(tts, HASTY), 30)
    assert words == WORDS or error is not None
    # Whatever became of that socket, the next utterance is whole and its own.
    words, error = await asyncio.wait_for(attempt(tts, AGAIN, "and now this."), 30)
    assert (words, error) == (["and", "now", "this."], None)


async def test_a_crash_before_the_first_sound_is_retried_whole(
    make: Make, sandbox: Sandbox, listen: Listen
) -> None:
    sandbox.faults.add(Fault(do="reset", on="receive", unit="words", after=3))
    tts = make(warm_sockets=0)
    assert await listen(tts, TEXT, conn_options=AGAIN) == WORDS
    assert sandbox.sessions[0].faults == ["reset"]


@pytest.mark.parametrize("over", ["http", "websocket"])
async def test_a_distant_and_narrow_line_changes_nothing(over: str) -> None:
    async with Sandbox(
        transcriber="tones", synthesizer="tones", round_trip=0.1, bandwidth=200_000
    ) as sandbox:
        endpoint = sandbox.tts_endpoint if over == "http" else sandbox.tts_websocket_endpoint
        tts = TTS(api_key=sandbox.api_key, model_endpoint=endpoint)
        try:
            assert await attempt(tts, AGAIN) == (WORDS, None)
        finally:
            await tts.aclose()


@pytest.mark.parametrize("seed", range(4))
async def test_random_trouble_is_whole_or_an_error(make: Make, sandbox: Sandbox, seed: int) -> None:
    choices = [
        Fault(do="reset", on="send", kind="binary"),
        Fault(do="eof", on="send", kind="binary"),
        Fault(do="finish", on="send", kind="binary"),
        Fault(do="close", on="receive", code=1012),
    ]
    sandbox.faults.at_random(choices, rate=0.5, seed=seed, spread=10)
    tts = make()
    for _ in range(6):
        words, error = await asyncio.wait_for(attempt(tts, AGAIN), 30)
        assert (words == WORDS) == (error is None)
        assert words == WORDS[: len(words)] or "?" in words
    struck = [do for session in sandbox.sessions for do in session.faults]
    assert struck
