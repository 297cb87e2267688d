"""The HTTP models besides Orpheus: JSON text to speech, and Whisper for whole files."""

from __future__ import annotations

import base64
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web

from livekit.plugins.baseten_sandbox import Deployment, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import read, silence, speak
from livekit.plugins.baseten_sandbox.protocols.audio_files import wav

MODEL_ERROR = {"error": "Internal Server Error (in model/chainlet)."}


def recording(*parts: np.ndarray) -> bytes:
    return wav(np.concatenate(parts).astype("<i2").tobytes(), 16000)


@pytest.mark.parametrize("key", ["base64", "audio", "output"])
async def test_json_tts_gives_a_wav_under_its_key(client: aiohttp.ClientSession, key: Any) -> None:
    kokoro = Deployment(id="kokoro1", serves="json-tts", audio_key=key)
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", deployments=[kokoro]) as sandbox,
        client.post(sandbox.url("kokoro1", "predict"), json={"text": "well said"}) as answer,
    ):
        body = await answer.json()
    assert list(body) == [key]
    audio = base64.b64decode(body[key])
    assert audio.startswith(b"RIFF")
    assert [w.text for w in read(audio[44:], rate=24000)] == ["well", "said"]


async def test_json_tts_without_text_is_a_model_error(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.post(sandbox.url("kokoro1", "predict"), json={"prompt": "hi"}) as answer:
        assert answer.status == 500
        assert await answer.json() == MODEL_ERROR
        assert answer.headers["X-BASETEN-ERROR-CODE"] == "600"


@pytest.mark.parametrize("form", ["audio_b64", "audio_bytes", "url"])
@pytest.mark.parametrize(("id_", "route"), [("whisper3", "predict"), ("whisper4", "run_remote")])
async def test_whisper_takes_a_file_in_three_ways(
    sandbox: Sandbox, client: aiohttp.ClientSession, form: str, id_: str, route: str
) -> None:
    data = recording(silence(1.0), speak("a whole file")[0], silence(1.0))

    async def serve(_: web.Request) -> web.Response:
        return web.Response(body=data)

    app = web.Application()
    app.router.add_get("/a.wav", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    audio = {
        "audio_b64": base64.b64encode(data).decode(),
        "audio_bytes": list(data),
        "url": f"http://127.0.0.1:{runner.addresses[0][1]}/a.wav",
    }[form]
    body = {
        "whisper_input": {"audio": {form: audio}, "whisper_params": {"show_word_timestamps": True}}
    }
    try:
        async with client.post(sandbox.url(id_, route), json=body) as answer:
            assert answer.status == 200
            result = await answer.json()
    finally:
        await runner.cleanup()
    (segment,) = result["segments"]
    assert segment["text"] == "a whole file"
    assert segment["word_timestamps"][0]["start_time"] == pytest.approx(1.0, abs=0.002)
    assert result["language_code"] == "en"
    assert result["audio_length_sec"] == pytest.approx(len(data[44:]) / 32000)


async def test_whisper_splits_a_file_at_long_silence(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    data = recording(speak("one two")[0], silence(1.0), speak("three")[0])
    body = {
        "whisper_input": {
            "audio": {"audio_b64": base64.b64encode(data).decode()},
            "vad_config": {"min_silence_duration_ms": 500},
        }
    }
    async with client.post(sandbox.url("whisper3", "predict"), json=body) as answer:
        segments = (await answer.json())["segments"]
    assert [s["text"] for s in segments] == ["one two", "three"]


@pytest.mark.parametrize(
    "whisper_input",
    [
        None,
        {"audio": {}},
        {"audio": {"audio_b64": "", "url": "http://127.0.0.1:1/"}},
        {"audio": {"audio_b64": "***"}},
        {"audio": {"audio_b64": base64.b64encode(b"no audio at all").decode()}},
        {"audio": {"url": "http://127.0.0.1:1/none.wav"}},
        {"audio": {"audio_b64": "AAAA"}, "unknown": 1},
    ],
)
async def test_whisper_refuses_what_it_can_not_use(
    sandbox: Sandbox, client: aiohttp.ClientSession, whisper_input: Any
) -> None:
    body = {"whisper_input": whisper_input}
    async with client.post(sandbox.url("whisper3", "predict"), json=body) as answer:
        assert answer.status == 500
        assert await answer.json() == MODEL_ERROR
