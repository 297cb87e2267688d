"""The real models, through the wire."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import AsyncIterator

import aiohttp
import jiwer
import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import Sandbox

pytestmark = [pytest.mark.models, pytest.mark.timeout(120)]
TEXT = "The quick brown fox jumps over the lazy dog. How are you today?"


TRANSCRIBERS = [
    "whisper",
    pytest.param(
        "moonshine",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("moonshine_voice") is None, reason="the extra isn't installed"
        ),
    ),
]


@pytest.fixture(params=TRANSCRIBERS)
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    async with Sandbox(transcriber=request.param) as running:
        await running.load()
        yield running


def plain(text: str) -> str:
    return re.sub(r"[^a-z' ]", "", text.lower()).strip()


async def spoken(sandbox: Sandbox, client: aiohttp.ClientSession, voice: str) -> np.ndarray:
    body = {"prompt": TEXT, "voice": voice}
    async with client.post(sandbox.tts_endpoint, json=body) as answer:
        assert answer.status == 200
        return np.frombuffer(await answer.read(), dtype="<i2")


async def heard(sandbox: Sandbox, client: aiohttp.ClientSession, pcm: np.ndarray) -> list[dict]:
    data = pcm.astype("<i2").tobytes()
    data += b"\0" * (-len(data) % 1024)
    segments = []
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json({"whisper_params": {"show_word_timestamps": True}})
        for at in range(0, len(data), 1024):
            await ws.send_bytes(data[at : at + 1024])
        await ws.send_json({"type": "end_audio"})
        while True:
            message = json.loads(await ws.receive_str(timeout=60))
            if message["type"] == "transcription":
                segments += message["segments"]
            elif message["body"]["status"] == "finished":
                return segments


async def test_what_is_spoken_is_heard_with_word_times(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    pcm = await spoken(sandbox, client, "tara")
    assert np.array_equal(pcm, await spoken(sandbox, client, "tara"))
    at = np.arange(0, len(pcm) - 1, 1.5)
    pcm16k = np.interp(at, np.arange(len(pcm)), pcm)
    segments = await heard(sandbox, client, np.concatenate([np.zeros(8000), pcm16k]))
    assert jiwer.wer(plain(TEXT), plain(" ".join(s["text"] for s in segments))) <= 0.1
    words = [w for s in segments for w in s["word_timestamps"]]
    assert words[0]["start_time"] >= 0.4
    assert words[-1]["end_time"] <= len(pcm16k) / 16000 + 0.6
    starts = [w["start_time"] for w in words]
    assert starts == sorted(starts)
    assert all(0.0 <= w["prob"] <= 1.0 for w in words)


@pytest.mark.parametrize("sandbox", ["whisper"], indirect=True)
async def test_voices_differ(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    tara, leo = [await spoken(sandbox, client, voice) for voice in ("tara", "leo")]
    assert len(tara) != len(leo) or not np.array_equal(tara, leo)
