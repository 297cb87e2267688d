"""Streaming Qwen3-ASR: JSON text messages with base64 audio, and a commit that ends the utterance."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from ..deployments import Deployment
from ..engines import Transcript
from ..engines.pool import EnginePool
from .connection import Connection
from .recognition import Recognition, RecognitionOptions, Utterance, segment_message
from .turns import WINDOW

__all__ = ["Qwen3AsrServer"]

_NAMES = {
    "en": "English",
    "de": "German",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "pt": "Portuguese",
    "ru": "Russian",
    "zh": "Chinese",
}
_CODES = {name.lower(): code for code, name in _NAMES.items()}


class Qwen3AsrServer:
    """Serves streaming Qwen3-ASR sessions."""

    def __init__(self, engines: EnginePool) -> None:
        self._engines = engines

    async def __call__(self, socket: Connection, deployment: Deployment) -> None:
        """Serve one session until the client leaves."""
        await _Session(socket, self._engines, deployment).run()


class _Session:
    def __init__(self, socket: Connection, engines: EnginePool, deployment: Deployment) -> None:
        self._socket = socket
        self._engines = engines
        self._aligner = deployment.aligner
        self._pending: dict[str, Any] | None = None
        self._rest = b""
        self._recognition = self._begin({})

    def _begin(self, config: dict[str, Any]) -> Recognition:
        # Whatever isn't known, or isn't what it should be, is ignored: this server isn't strict.
        whisper = _section(config, "whisper_params")
        streaming = _section(config, "streaming_params")
        vad = _section(config, "streaming_vad_config")
        language = str(whisper.get("audio_language", "auto"))
        self._word_times = bool(whisper.get("show_word_timestamps", False)) and self._aligner
        options = RecognitionOptions(
            language=None if language == "auto" else _CODES.get(language.lower(), language),
            word_times=self._word_times,
            partials=bool(streaming.get("enable_partial_transcripts", True)),
            partial_interval=float(streaming.get("partial_transcript_interval_s", 0.5)),
            max_duration=float(streaming.get("final_transcript_max_duration_s", 30)),
            threshold=float(vad.get("threshold", 0.5)),
            min_silence_ms=int(vad.get("min_silence_duration_ms", 500)),
            speech_pad_ms=int(vad.get("speech_pad_ms", 100)),
        )
        return Recognition(
            self._socket,
            self._engines,
            options,
            message=self._transcription,
            failed=lambda: {"type": "error", "error": "transcription failed"},
        )

    async def run(self) -> None:
        """Read the optional configuration, then the audio."""
        first = await self._next()
        config = _config(first)
        if config is not None:
            try:
                self._recognition = self._begin(config)
            except (TypeError, ValueError):
                await self._complain("invalid session configuration")
        else:
            self._pending = first
        await self._recognition.serve(self._listen)

    async def _listen(self) -> None:
        while True:
            message = self._pending if self._pending is not None else await self._next()
            self._pending = None
            await self._take(message)

    async def _take(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "input_audio_buffer.append":
            try:
                audio = base64.b64decode(message["audio"], validate=True)
            except (KeyError, TypeError, binascii.Error):
                await self._complain("audio must be base64")
                return
            self._hear(audio)
        elif kind == "input_audio_buffer.commit":
            self._hear(b"\0" * (-len(self._rest) % (2 * WINDOW)))
            if not self._recognition.flush():
                self._recognition.empty_final()
        elif kind == "transcription_session.update":
            await self._complain("the session is configured by its first message")
        else:
            await self._complain(f"unknown message type: {kind}")

    def _hear(self, audio: bytes) -> None:
        import numpy as np

        audio = self._rest + audio
        whole = len(audio) - len(audio) % (2 * WINDOW)
        for at in range(0, whole, 2 * WINDOW):
            frame = np.frombuffer(audio[at : at + 2 * WINDOW], dtype="<i2").astype(np.int16)
            self._recognition.hear(frame)
        self._rest = audio[whole:]

    async def _next(self) -> dict[str, Any]:
        while True:
            data = await self._socket.receive()
            if isinstance(data, bytes):
                await self._complain("binary messages are not accepted")
                continue
            try:
                message = json.loads(data)
            except ValueError:
                message = None
            if isinstance(message, dict):
                return message
            await self._complain("messages must be JSON objects")

    async def _complain(self, message: str) -> None:
        await self._socket.send_json({"type": "error", "message": message})

    def _transcription(self, utterance: Utterance, transcript: Transcript) -> dict[str, Any]:
        end = utterance.start + utterance.length
        segment = segment_message(transcript, utterance.start, end, word_times=self._word_times)
        message: dict[str, Any] = {
            "type": "transcription",
            "is_final": utterance.final,
            "transcription_num": utterance.number,
            "language_code": _NAMES.get(transcript.language, transcript.language),
            "segments": [segment],
        }
        if utterance.flush:
            message["is_end_of_audio_flush"] = True
        return message


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _config(message: dict[str, Any]) -> dict[str, Any] | None:
    if message.get("type") == "transcription_session.update":
        session = message.get("session")
        return session if isinstance(session, dict) else {}
    if "type" not in message:
        return message
    return None
