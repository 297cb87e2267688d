"""The ``transcription`` and ``error`` messages, which both v1 protocols share.

https://docs.baseten.co/reference/inference-api/predict-endpoints/streaming-transcription-api
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from livekit.agents import APIError, APIStatusError
from livekit.plugins.baseten_common import errors

from ..languages import joiner, language_code
from .base import Lost, Transcript, Word

__all__ = ["WHAT", "read_error", "read_message", "read_transcript"]

WHAT = "speech-to-text"

_DETAILS = ("audio_length_sec", "language_prob", "transcription_num", "pipeline_latency")
_SEGMENT_DETAILS = ("possible_hallucination", "beam_results", "speaker_confidence")
_FATAL = frozenset({"WEBSOCKET_ERROR", "CONFIGURATION_ERROR", "AUDIO_PROCESSING_ERROR"})


def read_message(message: str | bytes) -> Mapping[str, Any]:
    """A message as an object.

    Raises:
        APIError: it isn't one, or it comes from a deployment of another kind.
    """
    if not isinstance(message, str):
        raise APIError(
            f"{WHAT}: the deployment sent binary data, which no speech-to-text deployment does: "
            "check the endpoint",
            retryable=False,
        )
    try:
        parsed = json.loads(message)
    except (ValueError, RecursionError):
        raise APIError(f"{WHAT}: a message of the server can't be read as JSON") from None
    if not isinstance(parsed, Mapping):
        raise APIError(f"{WHAT}: a message of the server isn't a JSON object")
    if parsed.get("type") == "session.created":
        raise APIStatusError(
            f"{WHAT}: this deployment speaks Baseten's unified transcription protocol (v2), which "
            "model='whisper' and model='qwen3-asr' don't: deploy the streaming (v1) version of "
            "the model from Baseten's library",
            status_code=400,
            retryable=False,
        )
    return parsed


def read_error(message: Mapping[str, Any]) -> Lost:
    """An error message, if it leaves the connection usable.

    Raises:
        APIError: it doesn't.
    """
    error = errors.from_frame(message, what=WHAT)
    body = message.get("body")
    fields = {**message, **body} if isinstance(body, Mapping) else message
    recoverable, kind = fields.get("recoverable"), fields.get("error_type")
    if recoverable is None:
        recoverable = isinstance(kind, str) and kind not in _FATAL
    if recoverable is not True:
        raise error
    return Lost(error, segment=kind == "TRANSCRIPTION_ERROR" or "transcrib" in str(error).lower())


def _number(value: object) -> float | None:
    if type(value) is float and -math.inf < value < math.inf:  # as good as always
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _time(value: object) -> float | None:
    if type(value) is float and 0.0 <= value < math.inf:
        return value
    number = _number(value)
    return None if number is None else max(0.0, number)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _speaker(value: object) -> str | None:
    if value is None:
        return None
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None


def _words(segments: Iterable[Mapping[str, Any]]) -> tuple[Word, ...]:
    words = []
    last = 0.0
    for segment in segments:
        for item in _objects(segment.get("word_timestamps")):
            text = _text(item.get("word")).strip()
            if not text:
                continue
            start = _time(item.get("start_time"))
            end = _time(item.get("end_time"))
            start = last if start is None else start
            end = start if end is None else max(start, end)
            last = end
            probability = _number(item.get("prob"))
            if probability is not None and not 0.0 <= probability <= 1.0:
                probability = min(1.0, max(0.0, probability))
            words.append(Word(text, start, end, probability, _speaker(item.get("speaker"))))
    return tuple(words)


def _confidence(segments: list[dict[str, Any]], words: tuple[Word, ...]) -> float:
    known = [word.confidence for word in words if word.confidence is not None]
    if not known:
        logs = [_number(segment.get("log_prob")) for segment in segments]
        known = [math.exp(min(0.0, log)) for log in logs if log is not None]
    return sum(known) / len(known) if known else 0.0


def read_transcript(message: Mapping[str, Any]) -> Transcript:
    """A ``transcription`` message. Any field may be missing, null or of a wrong type."""
    segments = _objects(message.get("segments"))
    words = _words(segments)
    language = language_code(message.get("language_code"))
    texts = [text for segment in segments if (text := _text(segment.get("text")).strip())]
    # Before there were segments, the text stood at the top.
    text = joiner(language).join(texts) or _text(message.get("transcript")).strip()
    starts = [t for s in segments if (t := _time(s.get("start_time"))) is not None]
    ends = [t for s in segments if (t := _time(s.get("end_time"))) is not None]
    starts += [word.start for word in words]
    ends += [word.end for word in words]
    speakers = [name for s in segments if (name := _speaker(s.get("speaker"))) is not None]
    details = {name: message[name] for name in _DETAILS if message.get(name) is not None}
    for name in _SEGMENT_DETAILS:
        values = [segment.get(name) for segment in segments]
        if any(values):
            details[name] = values
    return Transcript(
        # Runtimes that know no partials don't say it.
        final=message.get("is_final", True) is not False,
        text=text,
        language=language,
        start=min(starts) if starts else None,
        end=max(ends) if ends else None,
        confidence=_confidence(segments, words),
        words=words,
        speaker=speakers[0] if speakers else None,
        flushed=message.get("is_end_of_audio_flush") is True,
        details=details,
    )
