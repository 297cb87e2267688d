"""The official plugin transcribes and speaks through the sandbox, as it does through Baseten.

It is driven around its own defects: streaming Whisper never hears of the end of the input, so the
stream is left after the last final; Orpheus gets one word a push, because the plugin sends what it
is given and the server takes every frame as whole words.
"""

from __future__ import annotations

import re
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import read, silence, speak

from .conftest import ROOT, Environment

# Whichever comes first installs the official plugin, over a slow line perhaps.
pytestmark = pytest.mark.timeout(300)
CLIP = ROOT / "tests" / "speech" / "librivox-0930.wav"
SAID = "he might even have been made amiable himself"


def audio(official: Environment, *pieces: np.ndarray) -> tuple[str, bytes]:
    """A file of these pieces and silence, in whole Whisper frames."""
    pcm = np.concatenate([*pieces, silence(1.0)])
    pcm = pcm[: len(pcm) // 512 * 512]
    path = official.scratch / "question.pcm"
    path.write_bytes(pcm.tobytes())
    return str(path), pcm.tobytes()


def finals(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for event in result["events"] if event["type"] == "final_transcript"]


def samples(path: str) -> np.ndarray:
    return np.frombuffer(Path(path).read_bytes(), dtype="<i2")


def spoken(path: str) -> list[str]:
    return [word.text for word in read(samples(path), rate=24000)]


async def test_whisper_is_streamed_to(sandbox: Sandbox, official: Environment) -> None:
    said, words = speak("turn the lights on")
    path, pcm = audio(official, said, silence(0.5), speak("thank you")[0])
    result = await official.use(
        do="transcribe",
        options={"api_key": sandbox.api_key, "model_endpoint": sandbox.stt_endpoint},
        audio=path,
        finals=2,
    )
    first, second = finals(result)
    assert (first["text"], second["text"]) == ("turn the lights on", "thank you")
    assert [word for word, *_ in first["words"]] == [word.text for word in words]
    for (_, start, end), word in zip(first["words"], words, strict=True):
        assert (start, end) == pytest.approx((word.start, word.end), abs=0.01)
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert (session.status, session.scheme, session.authorized) == (101, "Api-Key", True)
    assert session.closed_by == "client"
    assert pcm.startswith(session.received_audio)


async def test_qwen3_asr_is_streamed_to(sandbox: Sandbox, official: Environment) -> None:
    path, _ = audio(official, speak("turn the lights on")[0])
    result = await official.use(
        do="transcribe",
        options={
            "model": "qwen3-asr",
            "api_key": sandbox.api_key,
            "model_endpoint": sandbox.qwen_stt_endpoint,
            "show_word_timestamps": True,
        },
        audio=path,
    )
    assert " ".join(event["text"] for event in finals(result)) == "turn the lights on"
    kinds = [event["type"] for event in result["events"]]
    assert (kinds[0], kinds[-1]) == ("start_of_speech", "end_of_speech")
    assert [word for word, *_ in finals(result)[0]["words"]] == ["turn", "the", "lights", "on"]


async def test_qwen3_asr_recognizes_a_recording(sandbox: Sandbox, official: Environment) -> None:
    path, _ = audio(official, speak("what time is it")[0])
    result = await official.use(
        do="recognize",
        options={
            "model": "qwen3-asr",
            "api_key": sandbox.api_key,
            "model_endpoint": sandbox.qwen_stt_endpoint,
        },
        audio=path,
    )
    assert [event["text"] for event in result["events"]] == ["what time is it"]


async def test_orpheus_speaks_over_http(sandbox: Sandbox, official: Environment) -> None:
    path = str(official.scratch / "answer.pcm")
    result = await official.use(
        do="synthesize",
        options={"api_key": sandbox.api_key, "model_endpoint": sandbox.tts_endpoint},
        text="the lights are on now",
        audio=path,
    )
    assert result["rates"] == [24000]
    assert spoken(path) == ["the", "lights", "are", "on", "now"]


async def test_orpheus_speaks_over_a_websocket(sandbox: Sandbox, official: Environment) -> None:
    path = str(official.scratch / "answer.pcm")
    result = await official.use(
        do="stream",
        options={"api_key": sandbox.api_key, "model_endpoint": sandbox.tts_websocket_endpoint},
        pieces=["the", "lights", "are", "on", "now"],
        audio=path,
    )
    assert result["rates"] == [24000]
    assert spoken(path) == ["the", "lights", "are", "on", "now"]
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert session.received_texts[1:] == ["the", "lights", "are", "on", "now", "__END__"]


@pytest.mark.parametrize("how", ["stream", "synthesize"])
async def test_qwen3_tts_speaks(sandbox: Sandbox, official: Environment, how: str) -> None:
    path = str(official.scratch / "answer.pcm")
    text = "The lights are on. Anything else?"
    result = await official.use(
        do=how,
        options={
            "model": "qwen3-tts",
            "api_key": sandbox.api_key,
            "model_endpoint": sandbox.qwen_tts_endpoint,
            "voice": "vivian",
            "task_type": "CustomVoice",
            "word_timestamps": True,
        },
        audio=path,
        **({"pieces": [text[:9], text[9:]]} if how == "stream" else {"text": text}),
    )
    assert result["rates"] == [24000]
    assert spoken(path) == text.split()
    assert [word.strip() for word, *_ in result["words"]] == text.split()


async def test_qwen3_tts_speaks_with_a_registered_voice(
    sandbox: Sandbox, official: Environment
) -> None:
    access = {"api_key": sandbox.api_key, "model_endpoint": sandbox.qwen_tts_endpoint}
    clip = official.scratch / "clip.wav"
    clip.write_bytes(CLIP.read_bytes())
    result = await official.use(do="voices", options=access, name="grandma", audio=str(clip))
    assert result["added"]["name"] == "grandma"
    assert "grandma" in result["listed"]["voices"]
    path = str(official.scratch / "answer.pcm")
    await official.use(
        do="stream",
        options={**access, "model": "qwen3-tts", "voice": "grandma"},
        pieces=["Hello there."],
        audio=path,
    )
    assert spoken(path) == ["Hello", "there."]


async def test_the_llm_answers(sandbox: Sandbox, official: Environment) -> None:
    result = await official.use(
        do="chat",
        options={
            "api_key": sandbox.api_key,
            "base_url": sandbox.llm_base_url,
            "model": "openai/gpt-oss-120b",
        },
        text="Hello!",
    )
    assert result["text"].strip()
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert (session.status, session.authorized) == (200, True)


@pytest.mark.models
class TestRealModels:
    """The same with speech that people understand."""

    @pytest.fixture
    async def sandbox(self) -> AsyncIterator[Sandbox]:
        async with Sandbox() as running:
            await running.load()
            yield running

    @staticmethod
    def wrong(said: str, result: dict[str, Any]) -> float:
        heard = " ".join(event["text"] for event in finals(result))
        return jiwer.wer(said, re.sub(r"[^a-z' ]", "", heard.lower().replace("-", " ")))

    @pytest.mark.parametrize("model", ["whisper", "qwen3-asr"])
    async def test_a_human_is_understood(
        self, sandbox: Sandbox, official: Environment, model: str
    ) -> None:
        with wave.open(str(CLIP)) as clip:
            human = np.frombuffer(clip.readframes(clip.getnframes()), dtype="<i2")
        path, _ = audio(official, human)
        whisper = model == "whisper"
        endpoint = sandbox.stt_endpoint if whisper else sandbox.qwen_stt_endpoint
        result = await official.use(
            do="transcribe",
            options={"model": model, "api_key": sandbox.api_key, "model_endpoint": endpoint},
            audio=path,
            finals=1 if whisper else None,
        )
        assert self.wrong(SAID, result) <= 0.1

    @pytest.mark.parametrize("model", ["orpheus", "qwen3-tts"])
    async def test_what_it_speaks_is_understood(
        self, sandbox: Sandbox, official: Environment, model: str
    ) -> None:
        text = "The quick brown fox jumps over the lazy dog."
        path = str(official.scratch / "answer.pcm")
        http = model == "orpheus"
        endpoint = sandbox.tts_endpoint if http else sandbox.qwen_tts_endpoint
        voice = "tara" if http else "vivian"
        await official.use(
            do="synthesize",
            options={
                "model": model,
                "api_key": sandbox.api_key,
                "model_endpoint": endpoint,
                "voice": voice,
            },
            text=text,
            audio=path,
        )
        answer = samples(path)
        at = np.arange(0, len(answer) - 1, 1.5)
        narrow = np.interp(at, np.arange(len(answer)), answer).astype(np.int16)
        question, _ = audio(official, narrow)
        result = await official.use(
            do="transcribe",
            options={
                "model": "qwen3-asr",
                "api_key": sandbox.api_key,
                "model_endpoint": sandbox.qwen_stt_endpoint,
                "language": "English",
            },
            audio=question,
        )
        assert self.wrong(re.sub(r"[^a-z ]", "", text.lower()), result) <= 0.1
