"""Whisper over HTTP: a whole file in, segments out.

https://docs.baseten.co/reference/inference-api/predict-endpoints/transcription-api
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from ..deployments import Deployment
from ..engines.pool import EnginePool
from .audio_files import read_audio
from .recognition import segment_message
from .schema import Invalid, boolean, check, integer, mapping, nullable, number, text
from .turns import WINDOW, TurnCounter
from .whisper_schema import parse_whisper_params

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WhisperBatchServer"]

_RATE = 16000
_WHOLE = 30 * _RATE  # samples handled when the VAD is off
_LEAD = _RATE // 4
_DOWNLOAD = aiohttp.ClientTimeout(total=60)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        try:
            return bytes(value)
        except (TypeError, ValueError):
            pass
    raise Invalid("must be bytes")


_AUDIO = {
    "url": nullable(text),
    "audio_b64": nullable(text),
    "audio_bytes": nullable(_bytes),
}
_VAD = {
    "max_speech_duration_s": number,
    "min_silence_duration_ms": integer,
    "threshold": number,
}
_ASR = {"beam_size": integer, "length_penalty": number}
_INPUT = {
    "audio": lambda value: check(value, _AUDIO, "audio"),
    "whisper_params": parse_whisper_params,
    "vad_config": lambda value: check(value, _VAD, "vad_config"),
    "asr_options": lambda value: check(value, _ASR, "asr_options"),
    "include_timing_info": boolean,
    "diarization_config": mapping,
}


class WhisperBatchServer:
    """Serves ``/predict`` of a model, ``/run_remote`` of a chain."""

    def __init__(self, engines: EnginePool) -> None:
        self._engines = engines

    async def __call__(
        self, request: web.Request, deployment: Deployment, body: Any
    ) -> web.StreamResponse:
        """Answer one request; `body` is its parsed JSON.

        Raises:
            Invalid: The input isn't what the model accepts.
            ValueError: The audio can't be decoded.
        """
        top = check(body, {"whisper_input": lambda value: value}, "body")
        given = check(top.get("whisper_input"), _INPUT, "whisper_input")
        pcm = read_audio(await self._file(given.get("audio", {})))
        whisper = given.get("whisper_params", {})
        language = whisper.get("audio_language", "en")
        word_times = whisper.get("show_word_timestamps", False)
        if whisper.get("enable_vad", True):
            pieces = list(self._speech(pcm, given.get("vad_config", {})))
        else:
            pieces = [(0, pcm[:_WHOLE])]
        import numpy as np

        found, segments = None, []
        for offset, piece in pieces:
            found = await self._engines.transcribe(
                piece.astype(np.float32) / 32768.0,
                language=None if language == "auto" else language,
                word_times=word_times,
            )
            start = offset / _RATE
            if found.text and not whisper.get("language_detection_only", False):
                end = start + len(piece) / _RATE
                segments.append(segment_message(found, start, end, word_times=word_times))
        return web.json_response(
            {
                "language_code": found.language if found else None,
                "language_prob": found.language_probability if found else None,
                "segments": segments,
                "diarization": [],
                "timing_info": {} if given.get("include_timing_info") else None,
                "audio_length_sec": len(pcm) / _RATE,
            }
        )

    async def _file(self, audio: dict[str, Any]) -> bytes:
        chosen = {key: value for key, value in audio.items() if value is not None}
        if len(chosen) != 1:
            raise Invalid("audio: exactly one of url, audio_b64 and audio_bytes")
        (kind, value), *_ = chosen.items()
        if kind == "url":
            async with (
                aiohttp.ClientSession(timeout=_DOWNLOAD, raise_for_status=True) as session,
                session.get(value) as answer,
            ):
                return await answer.read()
        if kind == "audio_b64":
            try:
                return base64.b64decode(value, validate=True)
            except binascii.Error:
                raise Invalid("audio_b64: not base64") from None
        return bytes(value)

    def _speech(
        self, pcm: NDArray[np.int16], config: dict[str, Any]
    ) -> Iterator[tuple[int, NDArray[np.int16]]]:
        """Stretches of speech, each with the samples in front of it."""
        turns = TurnCounter(
            self._engines.new_detector(),
            threshold=config.get("threshold", 0.5),
            min_silence_ms=config.get("min_silence_duration_ms", 3000),
        )
        longest = int(min(config.get("max_speech_duration_s", 29.0), 29.0) * _RATE)
        start = last = 0
        for at in range(0, len(pcm) - WINDOW + 1, WINDOW):
            event = turns.feed(pcm[at : at + WINDOW])
            if event == "start":
                start = max(last, at - _LEAD)
            elif event == "end" or (turns.speaking and at + WINDOW - start >= longest):
                last = at + WINDOW
                yield start, pcm[start:last]
                start = last
        if turns.speaking:
            yield start, pcm[start:]
