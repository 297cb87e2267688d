"""What a Qwen3-TTS session accepts as configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .schema import Invalid, boolean, check, integer, number, text

__all__ = ["SpeechConfig", "parse_config"]


def _one_of(*choices: str) -> Callable[[Any], str]:
    def checked(value: Any) -> str:
        if value not in choices:
            raise Invalid(f"must be one of {', '.join(choices)}")
        return str(value)

    return checked


def _optional(inner: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else inner(value)


def _speed(value: Any) -> float:
    speed = number(value)
    if not 0.25 <= speed <= 4.0:
        raise Invalid("must be 0.25 to 4")
    return speed


def _numbers(value: Any) -> list[float]:
    if not isinstance(value, list):
        raise Invalid("must be a list of numbers")
    return [number(item) for item in value]


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "model": _optional(text),
    "voice": _optional(text),
    "task_type": _optional(_one_of("CustomVoice", "VoiceDesign", "Base")),
    "language": _optional(text),
    "instructions": _optional(text),
    "response_format": _one_of("wav", "pcm", "flac", "mp3", "aac", "opus"),
    "speed": _optional(_speed),
    "max_new_tokens": _optional(integer),
    "initial_codec_chunk_frames": _optional(integer),
    "ref_audio": _optional(text),
    "ref_text": _optional(text),
    "x_vector_only_mode": _optional(boolean),
    "speaker_embedding": _optional(_numbers),
    "stream_audio": boolean,
    "split_granularity": _one_of("sentence", "clause"),
    "timestamp_type": _optional(_one_of("word")),
    "timestamp_transport_strategy": _one_of("sync", "async"),
}


@dataclass(frozen=True)
class SpeechConfig:
    """A session's configuration, with the server's defaults filled in."""

    voice: str | None = None
    task_type: str | None = None
    language: str | None = None
    instructions: str | None = None
    response_format: str = "wav"
    speed: float | None = 1.0
    ref_audio: str | None = None
    speaker_embedding: list[float] | None = None
    stream_audio: bool = False
    split_granularity: str = "sentence"
    timestamp_type: str | None = None
    timestamp_transport_strategy: str = "sync"
    others: dict[str, Any] = field(default_factory=dict)


def parse_config(message: dict[str, Any], *, closed: bool) -> SpeechConfig:
    """Check a ``session.config`` message.

    Args:
        message: The message.
        closed: Whether an unknown field, or ``split_granularity``, invalidates it: deployed servers
            of both sorts exist.

    Raises:
        Invalid: It isn't what the server accepts.
    """
    given = {key: value for key, value in message.items() if key != "type"}
    fields = dict(_FIELDS)
    if closed:
        del fields["split_granularity"]
    else:
        given = {key: value for key, value in given.items() if key in fields}
    values = check(given, fields, "session.config")
    own = SpeechConfig.__dataclass_fields__
    config = SpeechConfig(
        **{key: value for key, value in values.items() if key in own},
        others={key: value for key, value in values.items() if key not in own},
    )
    if config.stream_audio and config.response_format != "pcm":
        raise Invalid("stream_audio requires response_format pcm")
    if config.stream_audio and config.speed not in (None, 1.0):
        raise Invalid("stream_audio requires speed 1.0")
    if config.ref_audio is not None and config.speaker_embedding is not None:
        raise Invalid("ref_audio and speaker_embedding are mutually exclusive")
    return config
