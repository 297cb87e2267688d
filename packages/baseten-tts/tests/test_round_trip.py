"""Thirty sentences of every sort: the words that reach the server are the words of the text."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.records import SessionRecord
from livekit.plugins.baseten_tts import TTS

from .conftest import Make

SENTENCES = (Path(__file__).parent / "sentences.txt").read_text(encoding="utf-8").splitlines()
PROTOCOLS: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {
    "orpheus over http": (("orpheus1", "predict"), {}),
    "orpheus over websocket": (("orpheus2", "websocket"), {}),
    "qwen3-tts": (
        ("qwentts1", "websocket"),
        {"model": "qwen3-tts", "voice": "vivian", "task_type": "CustomVoice"},
    ),
    "qwen3-tts of one utterance": (
        ("qwentts2", "websocket"),
        {"model": "qwen3-tts", "voice": "vivian", "task_type": "CustomVoice"},
    ),
    "json": (("kokoro1", "predict"), {"model": "generic"}),
}


async def speak(tts: TTS, text: str, *, whole: bool) -> bytes:
    if whole:
        async with tts.synthesize(text) as chunked:
            return b"".join([bytes(event.frame.data) async for event in chunked])
    async with tts.stream() as stream:
        for i in range(0, len(text), 4):  # about what a token of a language model is
            stream.push_text(text[i : i + 4])
        stream.end_input()
        return b"".join([bytes(event.frame.data) async for event in stream])


def words_received(session: SessionRecord) -> list[str]:
    if session.transport == "http":
        body = session.received_json[0]
        return str(body.get("prompt") or body["text"]).split()
    if session.deployment == "orpheus2":
        words = [text for text in session.received_texts[1:] if text != "__END__"]
        assert all(len(word.split()) == 1 for word in words)
        return words
    parts = [message.get("text", "\n") for message in session.received_json[1:]]
    return "".join(parts).split()


@pytest.mark.parametrize("whole", [True, False], ids=["synthesize", "stream"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_server_gets_the_words_of_the_text(
    make: Make, sandbox: Sandbox, protocol: str, whole: bool
) -> None:
    (deployment, route), options = PROTOCOLS[protocol]
    tts = make(sandbox.url(deployment, route), **options)
    known: dict[int, int] = {}
    for text in SENTENCES:
        audio = await speak(tts, text, whole=whole)
        # The tone voice takes 0.3 s for a word.
        assert len(audio) / 48000 == pytest.approx(0.3 * len(text.split()), abs=0.5)
        received: list[str] = []
        for number, session in enumerate(sandbox.sessions):
            words = words_received(session)
            received += words[known.get(number, 0) :]
            known[number] = len(words)
        assert received == text.split()


def plain(text: str) -> str:
    text = unicodedata.normalize("NFKD", text.lower().replace("’", "'"))
    return " ".join(re.sub(r"[^a-z0-9' ]", " ", text).split())


@pytest.mark.models
@pytest.mark.timeout(600)
async def test_a_real_voice_is_as_clear_as_without_a_network(http_context: None) -> None:
    from livekit.plugins.baseten_sandbox.engines.hibari import HibariSynthesizer
    from livekit.plugins.baseten_sandbox.engines.whisper import WhisperTranscriber

    transcriber, voice = WhisperTranscriber(), HibariSynthesizer()
    transcriber.load()
    voice.load()

    def hear(audio: bytes) -> str:
        samples = np.frombuffer(audio, "<i2").astype(np.float32) / 32768
        at = np.arange(0, len(samples) - 1, 1.5)
        resampled = np.interp(at, np.arange(len(samples)), samples)
        pcm = np.pad(resampled, 4000).astype(np.float32)
        return plain(transcriber.transcribe(pcm, language="en", word_times=False).text)

    alone: list[str] = []
    through: list[str] = []
    async with Sandbox(synthesizer=voice, transcriber="tones") as sandbox:
        ways = [(protocol, whole) for protocol in PROTOCOLS for whole in (True, False)]
        for i, text in enumerate(SENTENCES):
            protocol, whole = ways[i % len(ways)]
            (deployment, route), options = PROTOCOLS[protocol]
            endpoint = sandbox.url(deployment, route)
            tts = TTS(api_key=sandbox.api_key, model_endpoint=endpoint, **options)
            through.append(hear(await speak(tts, text, whole=whole)))
            await tts.aclose()
            chunks = voice.synthesize(text, voice=options.get("voice", "tara"))
            alone.append(hear(b"".join(np.asarray(chunk).tobytes() for chunk in chunks)))
    # Against the words of the text, numbers and names that are spelled otherwise would count.
    assert jiwer.wer(alone, through) <= 0.05
