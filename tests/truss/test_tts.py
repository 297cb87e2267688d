"""Our TTS against the Orpheus truss on Baseten's real model server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import jiwer
import numpy as np
import pytest

from livekit.agents import APIConnectOptions, APIStatusError
from livekit.plugins.baseten_sandbox.engines.whisper import WhisperTranscriber
from livekit.plugins.baseten_tts import TTS

pytestmark = [pytest.mark.truss, pytest.mark.timeout(60, func_only=True)]

ONCE = APIConnectOptions(max_retry=0, retry_interval=0.0, timeout=10.0)
TWICE = APIConnectOptions(max_retry=1, retry_interval=0.0, timeout=10.0)


@pytest.fixture
async def voice() -> AsyncIterator[Callable[..., TTS]]:
    """Make TTS instances that end with the test; without warm sockets, so that dials count."""
    made: list[TTS] = []

    def make(server: Any, **options: Any) -> TTS:
        options = {"warm_sockets": 0, **options}
        made.append(TTS(model_endpoint=server.endpoint, api_key="key", **options))
        return made[-1]

    yield make
    await asyncio.gather(*(tts.aclose() for tts in made))


async def speak(tts: TTS, text: str, conn_options: APIConnectOptions = ONCE) -> bytes:
    async with tts.stream(conn_options=conn_options) as stream:
        # In pieces that end where no word does, as an LLM's tokens may.
        for at in range(0, len(text), 4):
            stream.push_text(text[at : at + 4])
        stream.end_input()
        return b"".join([bytes(event.frame.data) async for event in stream])


def read(tones: Any, audio: bytes) -> str:
    return " ".join(word.text for word in tones.read(audio, rate=24000))


@pytest.mark.models
async def test_a_sentence_is_spoken_and_understood(
    start: Callable[..., Any], voice: Callable[..., TTS]
) -> None:
    text = "The train to the city leaves at noon. Please bring your ticket and some water."
    audio = await speak(voice(start("orpheus-websocket")), text)
    samples = np.frombuffer(audio, dtype="<i2").astype(np.float32) / 32768.0
    at = np.arange(0, len(samples), 1.5)
    heard = await asyncio.to_thread(
        WhisperTranscriber().transcribe,
        np.interp(at, np.arange(len(samples)), samples).astype(np.float32),
        language="en",
        word_times=False,
    )
    plain = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation()])
    assert jiwer.wer(plain(text), plain(heard.text)) <= 0.15


@pytest.mark.parametrize("count", [1, 9, 10, 11, 25])
async def test_every_word_is_spoken_once_and_in_order(
    orpheus: Any, voice: Callable[..., TTS], tones: Any, vocabulary: list[str], count: int
) -> None:
    # No full stop before the last word: the server cuts at 10 words, or at the end.
    text = " ".join(vocabulary[:count])
    assert read(tones, await speak(voice(orpheus), text)) == text


async def test_an_exception_before_any_audio_is_tried_again_and_then_told(
    orpheus: Any, voice: Callable[..., TTS]
) -> None:
    before = orpheus.sessions
    with pytest.raises(APIStatusError) as raised:
        await speak(voice(orpheus), "thunder", TWICE)
    assert raised.value.status_code == 1011
    assert raised.value.retryable is True
    assert "Internal Server Error (in model/chainlet)." in raised.value.message
    assert orpheus.sessions == before + 2


async def test_an_exception_in_mid_speech_is_told_and_nothing_is_said_twice(
    orpheus: Any, voice: Callable[..., TTS], tones: Any
) -> None:
    before = orpheus.sessions
    heard = b""
    async with voice(orpheus).stream(conn_options=TWICE) as stream:
        stream.push_text("amber birch cedar. delta ember. thunder river.")
        stream.end_input()
        with pytest.raises(APIStatusError) as raised:
            async for event in stream:
                heard += bytes(event.frame.data)
    assert raised.value.status_code == 1011
    assert raised.value.retryable is False
    assert read(tones, heard) == "amber birch cedar. delta ember."
    assert orpheus.sessions == before + 1


async def test_an_interruption_frees_the_way_for_the_next_utterance(
    orpheus: Any, voice: Callable[..., TTS], tones: Any
) -> None:
    tts = voice(orpheus)
    (orpheus.folder / "held").touch()
    try:
        async with tts.stream(conn_options=ONCE) as stream:
            stream.push_text("amber birch cedar. patience delta. ember flint. grove")
            stream.end_input()
            await anext(stream)
    finally:
        (orpheus.folder / "held").unlink()
    assert read(tones, await speak(tts, "river stone")) == "river stone"


async def test_a_model_that_is_loading_is_told_and_speaks_once_it_is_ready(
    start: Callable[..., Any], voice: Callable[..., TTS], tones: Any
) -> None:
    server = start("orpheus-websocket", model="orpheus.py", loading=True)
    tts = voice(server)
    with pytest.raises(APIStatusError) as raised:
        await speak(tts, "river stone")
    assert raised.value.status_code == 503
    assert raised.value.retryable is True
    assert "Model with name model is not ready." in raised.value.message
    server.loaded()
    await asyncio.to_thread(server.wait_ready)
    assert read(tones, await speak(tts, "river stone")) == "river stone"


async def test_a_replica_that_is_taken_away_in_mid_speech_is_told(
    start: Callable[..., Any], voice: Callable[..., TTS], tones: Any
) -> None:
    server = start("orpheus-websocket", model="orpheus.py")
    tts = voice(server)
    (server.folder / "held").touch()
    heard = b""
    async with tts.stream(conn_options=TWICE) as stream:
        stream.push_text("amber birch cedar. patience delta. ember flint. grove")
        stream.end_input()
        with pytest.raises(APIStatusError) as raised:
            async for event in stream:
                if not heard:
                    server.terminate()
                heard += bytes(event.frame.data)
    assert raised.value.status_code == 1012
    assert raised.value.retryable is False
    assert read(tones, heard) == "amber birch cedar."
    # The thread that holds the model keeps the old process.
    (server.folder / "held").unlink()
    await asyncio.to_thread(server.restart)
    assert "Traceback" not in server.log
    assert read(tones, await speak(tts, "river stone")) == "river stone"


async def test_a_warm_socket_answers_the_pings_and_is_replaced_when_its_replica_goes(
    start: Callable[..., Any], voice: Callable[..., TTS], tones: Any
) -> None:
    server = start("orpheus-websocket", model="orpheus.py", ping=(0.2, 3.0))
    tts = voice(server, warm_sockets=1)
    tts.prewarm()
    async with aiohttp.ClientSession() as session:
        await server.accepted(1)
        # Opened later, and closed for its missing pong: the warm one would be closed by now.
        async with session.ws_connect(server.endpoint, autoping=False) as mute:
            while (message := await mute.receive(timeout=30)).type is aiohttp.WSMsgType.PING:
                pass
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)
    reused: list[bool] = []
    tts.on("metrics_collected", lambda metrics: reused.append(metrics.connection_reused))
    assert read(tones, await speak(tts, "river stone")) == "river stone"
    assert reused == [True]
    await server.accepted(3)  # it was used up, and another one is dialled
    server.terminate()
    await asyncio.to_thread(server.restart)
    assert read(tones, await speak(tts, "tulip umber")) == "tulip umber"
