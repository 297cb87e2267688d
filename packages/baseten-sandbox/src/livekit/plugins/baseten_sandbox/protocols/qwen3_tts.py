"""Streaming Qwen3-TTS: text in, sentence by sentence audio and word times out, and voices."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from ..deployments import Deployment
from ..engines.alignment import align
from ..engines.pool import EnginePool
from .audio_files import wav
from .connection import Connection
from .qwen3_tts_schema import SpeechConfig, parse_config
from .schema import Invalid
from .voices import VoiceShelf

__all__ = ["Qwen3TtsServer"]

_RATE = 24000
_CHUNK = 4800  # bytes: 100 ms
_MAX_CONFIG = 4 * 1024 * 1024
_MAX_TEXT = 128 * 1024
_MAX_VOICE = 16 * 1024 * 1024
_MAX_BUFFER = 100_000
# As the model names them, of those that an engine here may speak.
_LANGUAGES = {"german": "de", "spanish": "es", "french": "fr", "italian": "it"}
_BOUNDARIES = {
    "sentence": re.compile(r"(?<=[.!?])\s+|(?<=[。！？])"),
    "clause": re.compile(r"(?<=[.!?])\s+|(?<=[。！？，；])"),
}


class _Over(Exception):
    """The session ends after an error message that was sent already."""


class _Refused(Exception):
    """A sentence can't be spoken as it was asked for."""


class Qwen3TtsServer:
    """Serves streaming Qwen3-TTS sessions.

    Args:
        engines: The models.
        idle_limit: Seconds a session may idle.
        config_limit: Seconds until the configuration must be there.
    """

    def __init__(
        self, engines: EnginePool, *, idle_limit: float = 30.0, config_limit: float = 10.0
    ) -> None:
        self._engines = engines
        self._idle_limit = idle_limit
        self._config_limit = config_limit
        self._shelves: dict[str, VoiceShelf] = {}

    async def __call__(self, socket: Connection, deployment: Deployment) -> None:
        """Serve one session."""
        shelf = self._shelves.setdefault(deployment.host, VoiceShelf(deployment.voices))
        session = _Session(socket, deployment, shelf, self._engines)
        try:
            await session.configure(self._config_limit)
            await session.speak(self._idle_limit)
        except _Over:
            return


@dataclass
class _Turn:
    """What counts anew after each ``input.done``."""

    text: str = ""
    sentences: int = 0
    seconds: float = 0.0
    unaligned: list[tuple[int, str, bytes, float]] = field(default_factory=list)


class _Session:
    def __init__(
        self, socket: Connection, deployment: Deployment, shelf: VoiceShelf, engines: EnginePool
    ) -> None:
        self._socket = socket
        self._deployment = deployment
        self._shelf = shelf
        self._engines = engines
        self._config = SpeechConfig()
        self._turn = _Turn()

    async def configure(self, limit: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit
        while True:
            raw = await self._receive(deadline - loop.time(), "Timeout waiting for session.config")
            message = await self._parse(raw)
            if message is None or await self._voices(message, raw):
                continue
            if message.get("type") != "session.config":
                await self._over(f"Expected session.config or voice.*, got: {message.get('type')}")
            await self._accept_config(message, raw)
            return

    async def speak(self, limit: float) -> None:
        while True:
            raw = await self._receive(limit, "Idle timeout: no message received")
            message = await self._parse(raw)
            if message is None or await self._voices(message, raw):
                continue
            kind = message.get("type")
            if kind == "input.text":
                await self._text(message.get("text", ""), raw)
            elif kind == "input.done":
                await self._done()
                if self._deployment.one_shot:
                    return
            elif kind == "session.config" and not self._deployment.one_shot:
                await self._accept_config(message, raw)
            elif kind == "session.close" and not self._deployment.one_shot:
                return
            else:
                await self._error(f"Unknown message type: {kind}")

    async def _receive(self, limit: float, complaint: str) -> str:
        try:
            return await asyncio.wait_for(self._socket.receive_text(), max(0.0, limit))
        except asyncio.TimeoutError:
            await self._over(complaint)
            raise AssertionError from None

    async def _parse(self, raw: str) -> dict[str, Any] | None:
        try:
            message = json.loads(raw)
        except ValueError:
            await self._error("Invalid JSON message")
            return None
        if not isinstance(message, dict):
            await self._error("WebSocket messages must be JSON objects")
            return None
        return message

    async def _voices(self, message: dict[str, Any], raw: str) -> bool:
        if message.get("type") not in ("voice.list", "voice.add", "voice.remove"):
            return False
        if len(raw) > _MAX_VOICE:
            await self._error("voice.add message too large")
        else:
            await self._socket.send_json(self._shelf.answer(message))
        return True

    async def _accept_config(self, message: dict[str, Any], raw: str) -> None:
        if len(raw) > _MAX_CONFIG:
            await self._over("session.config message too large")
        try:
            self._config = parse_config(message, closed=self._deployment.closed_config)
        except Invalid as error:
            await self._over(f"Invalid session config: {error}")
        if self._config.timestamp_type and not self._deployment.aligner:
            await self._over(
                "Timestamps requested but no ForcedAligner is loaded. "
                "Start the server with FORCED_ALIGNER_MODEL set."
            )

    async def _text(self, text: Any, raw: str) -> None:
        if len(raw) > _MAX_TEXT:
            await self._error("input.text message too large")
            return
        if not isinstance(text, str):
            await self._error("input.text requires a string value")
            return
        self._turn.text += text
        if len(self._turn.text) > _MAX_BUFFER:
            await self._over("Internal error: Text buffer exceeded maximum size (100000 chars).")
        *complete, self._turn.text = _split(
            self._turn.text, _BOUNDARIES[self._config.split_granularity]
        )
        for sentence in complete:
            await self._sentence(sentence)

    async def _done(self) -> None:
        rest, self._turn.text = self._turn.text.strip(), ""
        if rest:
            await self._sentence(rest)
        for index, sentence, pcm, offset in self._turn.unaligned:
            await self._socket.send_json(
                {
                    "type": "timestamps",
                    "sentence_index": index,
                    "timestamp_info": self._times(sentence, pcm, offset),
                }
            )
        done = {"type": "session.done", "total_sentences": self._turn.sentences}
        self._turn = _Turn()
        await self._socket.send_json(done)

    async def _sentence(self, sentence: str) -> None:
        config, turn = self._config, self._turn
        index = turn.sentences
        turn.sentences += 1
        start: dict[str, Any] = {
            "type": "audio.start",
            "sentence_index": index,
            "sentence_text": sentence,
            "format": config.response_format,
        }
        if config.stream_audio:
            start["sample_rate"] = _RATE
        await self._socket.send_json(start)
        pcm, sent, failed = b"", 0, False
        try:
            self._check_voice()
            language = _LANGUAGES.get((config.language or "").lower())
            speech = self._engines.synthesize(sentence, voice=config.voice, language=language)
            async with aclosing(speech):
                async for chunk in speech:
                    pcm += chunk
                    while config.stream_audio and len(pcm) - sent >= _CHUNK:
                        await self._socket.send(pcm[sent : sent + _CHUNK])
                        sent += _CHUNK
            if not config.stream_audio:
                whole = pcm if config.response_format == "pcm" else wav(pcm, _RATE)
                await self._socket.send(whole)
                sent = len(whole)
            elif len(pcm) > sent:
                await self._socket.send(pcm[sent:])
                sent = len(pcm)
        except (_Refused, RuntimeError, ValueError) as error:
            failed = True
            await self._error(f"Generation failed for sentence {index}: {error}")
        done: dict[str, Any] = {
            "type": "audio.done",
            "sentence_index": index,
            "total_bytes": sent,
            "error": failed,
        }
        offset = turn.seconds if self._deployment.word_times == "global" else 0.0
        turn.seconds += len(pcm) / 2 / _RATE
        if config.timestamp_type and not failed and pcm:
            if config.timestamp_transport_strategy == "sync":
                done["timestamp_info"] = self._times(sentence, pcm, offset)
            else:
                turn.unaligned.append((index, sentence, pcm, offset))
        await self._socket.send_json(done)

    def _check_voice(self) -> None:
        config = self._config
        if config.response_format not in ("wav", "pcm"):
            raise _Refused(f"the sandbox has no encoder for {config.response_format}")
        if config.task_type == "VoiceDesign":
            if not config.instructions:
                raise _Refused("VoiceDesign requires 'instructions'")
            return
        if config.ref_audio is not None or config.speaker_embedding is not None:
            return
        if config.voice is None:
            if config.task_type == "Base":
                raise _Refused("Base task requires 'ref_audio' for voice cloning")
        elif not self._shelf.knows(config.voice):
            raise _Refused(f"Invalid voice '{config.voice}'")

    def _times(self, sentence: str, pcm: bytes, offset: float) -> dict[str, Any]:
        words = align(sentence, pcm, rate=_RATE)
        return {
            "word_alignment": {
                "words": [word.text for word in words],
                "word_start_times_seconds": [round(offset + word.start, 4) for word in words],
                "word_end_times_seconds": [round(offset + word.end, 4) for word in words],
            }
        }

    async def _error(self, message: str) -> None:
        await self._socket.send_json({"type": "error", "message": message})

    async def _over(self, message: str) -> None:
        await self._error(message)
        raise _Over


def _split(text: str, boundary: re.Pattern[str]) -> list[str]:
    """Complete sentences, then what is left; a piece of one character joins the next."""
    pieces = boundary.split(text)
    sentences: list[str] = []
    carried = ""
    for piece in pieces[:-1]:
        joined = carried + piece
        carried = ""
        if len(joined.strip()) >= 2:
            sentences.append(joined.strip())
        elif joined.strip():
            carried = joined
    return [*sentences, carried + pieces[-1]]
