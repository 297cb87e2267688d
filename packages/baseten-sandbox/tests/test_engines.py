from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Iterator
from typing import Any

import aiohttp
import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines import Transcript
from livekit.plugins.baseten_sandbox.engines.pool import EnginePool
from livekit.plugins.baseten_sandbox.engines.queueing import Turnstile
from livekit.plugins.baseten_sandbox.engines.tones import (
    ToneDetector,
    ToneTranscriber,
    silence,
    speak,
)

CONFIG = {
    "streaming_params": {"enable_partial_transcripts": True, "partial_transcript_interval_s": 0.2}
}


async def stream(ws: aiohttp.ClientWebSocketResponse, *parts: np.ndarray) -> None:
    pcm = np.concatenate(parts).tobytes()
    pcm += b"\0" * (-len(pcm) % 1024)
    for at in range(0, len(pcm), 1024):
        await ws.send_bytes(pcm[at : at + 1024])


async def until_finished(ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
    await ws.send_json({"type": "end_audio"})
    messages = []
    while True:
        messages.append(await ws.receive_json(timeout=10))
        if messages[-1].get("body", {}).get("status") == "finished":
            return messages


class Slow(ToneTranscriber):
    """Doesn't come back until it is let go."""

    instant = False

    def __init__(self) -> None:
        self.go = threading.Event()

    def transcribe(self, pcm: Any, *, language: Any, word_times: bool) -> Transcript:
        self.go.wait(10)
        return super().transcribe(pcm, language=language, word_times=word_times)


async def test_a_slow_model_costs_partials_but_no_final(client: aiohttp.ClientSession) -> None:
    slow = Slow()
    async with (
        Sandbox(transcriber=slow, synthesizer="tones", detector=ToneDetector) as sandbox,
        client.ws_connect(sandbox.stt_endpoint) as ws,
    ):
        await ws.send_json(CONFIG)
        await stream(ws, speak("a b c d e f g h i j")[0], silence(0.5), speak("k")[0])
        await ws.send_json({"type": "health_check"})
        # The socket is read on while the model computes.
        assert (await ws.receive_json(timeout=10))["type"] == "health_check"
        slow.go.set()
        messages = [m for m in await until_finished(ws) if m["type"] == "transcription"]
    # The one partial under way was given up when its turn ended.
    assert [m["is_final"] for m in messages] == [True, True]
    assert messages[0]["segments"][0]["text"] == "a b c d e f g h i j"
    assert messages[1]["segments"][0]["text"] == "k"


class FailsOn(ToneTranscriber):
    def transcribe(self, pcm: Any, *, language: Any, word_times: bool) -> Transcript:
        transcript = super().transcribe(pcm, language=language, word_times=word_times)
        if "boom" in transcript.text:
            raise RuntimeError("out of memory")
        return transcript


async def test_a_transcription_that_fails_costs_its_turn_only(
    client: aiohttp.ClientSession,
) -> None:
    async with (
        Sandbox(transcriber=FailsOn(), synthesizer="tones", detector=ToneDetector) as sandbox,
        client.ws_connect(sandbox.stt_endpoint) as ws,
    ):
        await ws.send_json({})
        await stream(ws, speak("boom")[0], silence(0.5), speak("fine")[0], silence(0.5))
        messages = await until_finished(ws)
    error, final = (m for m in messages if m["type"] != "end_audio")
    assert error["type"] == "error"
    assert error["body"]["error_type"] == "TRANSCRIPTION_ERROR"
    assert error["body"]["recoverable"] is True
    assert final["segments"][0]["text"] == "fine"
    assert final["transcription_num"] == 2


class Breaks:
    def load(self) -> None: ...

    def synthesize(self, text: str, *, voice: str | None) -> Iterator[np.ndarray]:
        yield speak("first", rate=24000)[0]
        raise RuntimeError("out of memory")


async def test_speech_that_fails_midway_is_a_short_body_without_a_word_of_it(
    client: aiohttp.ClientSession,
) -> None:
    async with Sandbox(transcriber="tones", synthesizer=Breaks()) as sandbox:
        async with client.post(sandbox.tts_endpoint, json={"prompt": "first second"}) as answer:
            assert answer.status == 200
            assert 0 < len(await answer.read()) <= 0.3 * 24000 * 2
        async with client.ws_connect(sandbox.tts_websocket_endpoint) as ws:
            await ws.send_json({})
            await ws.send_str("first second")
            await ws.send_str("__END__")
            while (message := await ws.receive(timeout=10)).type is aiohttp.WSMsgType.BINARY:
                pass
            assert message.data == 1011


async def test_the_urgent_go_first_and_whoever_leaves_loses_no_slot() -> None:
    turnstile = Turnstile(1)
    order: list[str] = []

    async def use(name: str, *, urgent: bool) -> None:
        await turnstile.enter(urgent=urgent)
        order.append(name)
        turnstile.leave()

    await turnstile.enter(urgent=False)
    tasks = [
        asyncio.create_task(use(name, urgent=name.isupper())) for name in ("a", "b", "C", "d", "E")
    ]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    turnstile.leave()
    await asyncio.wait(tasks)
    assert order == ["C", "E", "a", "d"]
    await turnstile.enter(urgent=True)
    leaving = asyncio.create_task(use("f", urgent=True))
    await asyncio.sleep(0)
    turnstile.leave()
    # The slot was handed over now, and its new owner leaves before it gets to run.
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await use("g", urgent=False)
    assert order[-1] == "g"


@pytest.mark.skipif(
    importlib.util.find_spec("moonshine_voice") is not None, reason="the extra is installed"
)
async def test_moonshine_without_its_extra_tells_how_to_get_it() -> None:
    async with Sandbox(transcriber="moonshine", synthesizer="tones") as sandbox:
        with pytest.raises(ImportError, match=r"livekit-plugins-baseten-sandbox\[moonshine\]"):
            await sandbox.load()


@pytest.mark.parametrize("what", ["transcriber", "synthesizer", "detector"])
def test_an_unknown_engine_is_refused_with_the_choices(what: str) -> None:
    with pytest.raises(ValueError, match=f"{what} must be .*\"tones\".*not 'magic'"):
        Sandbox(**{what: "magic"})  # type: ignore[arg-type]


async def test_a_body_over_the_limit_is_413(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async def much() -> Any:
        for _ in range(101):
            yield b"\0" * 1024 * 1024

    async with client.post(sandbox.tts_endpoint, data=much()) as answer:
        assert answer.status == 413
        assert (await answer.json())["error_code"] == "payload_too_large"


async def test_a_pool_may_hold_one_engine_alone() -> None:
    pool = EnginePool(synthesizer="tones")
    try:
        assert [chunk async for chunk in pool.synthesize("hello", voice=None)]
        with pytest.raises(ValueError, match=r'EnginePool\(transcriber="whisper"\)'):
            await pool.transcribe(np.zeros(512, np.float32), language=None, word_times=False)
    finally:
        pool.close()
    pool = EnginePool(transcriber="tones")
    try:
        heard = speak("hello")[0].astype(np.float32) / 32768
        transcript = await pool.transcribe(heard, language=None, word_times=False)
        assert transcript.text == "hello"
        with pytest.raises(ValueError, match=r'EnginePool\(synthesizer="hibari"\)'):
            pool.synthesizer.load()
    finally:
        pool.close()
