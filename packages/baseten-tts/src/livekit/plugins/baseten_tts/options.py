from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """What one utterance is synthesised with; see :class:`.TTS` for the meaning of each.

    None means that the key isn't sent, so the server's own default holds.

    Raises:
        ValueError: an option is out of its range.
    """

    voice: str
    language: str | None = None
    # Orpheus
    temperature: float = 0.6
    max_tokens: int = 2000
    buffer_size: int = 10
    top_p: float | None = None
    repetition_penalty: float | None = None
    max_chunk_size: int | None = None
    # Qwen3-TTS
    task_type: str = "Base"
    instructions: str | None = None
    max_new_tokens: int | None = None
    initial_codec_chunk_frames: int | None = None
    x_vector_only_mode: bool | None = None
    ref_audio: str | None = None
    ref_text: str | None = None
    word_timestamps: bool = False
    extra_config: Mapping[str, Any] = field(default_factory=dict)
    # generic
    text_field: str = "text"
    voice_field: str = "voice"
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    sample_rate: int = 24000

    def __post_init__(self) -> None:
        self._check("temperature", self.temperature, 0, 2)
        self._check("max_tokens", self.max_tokens, 1)
        self._check("buffer_size", self.buffer_size, 1)
        self._check("top_p", self.top_p, 0, 1)
        self._check("repetition_penalty", self.repetition_penalty, 0, 10)
        self._check("max_chunk_size", self.max_chunk_size, 1)
        self._check("max_new_tokens", self.max_new_tokens, 1)
        self._check("initial_codec_chunk_frames", self.initial_codec_chunk_frames, 1)
        self._check("sample_rate", self.sample_rate, 8000, 192000)
        if not self.text_field:
            raise ValueError("text_field is blank: name the key that takes the text")

    @staticmethod
    def _check(name: str, value: float | None, low: float, high: float = float("inf")) -> None:
        # Written so that a NaN fails too.
        if value is not None and not low <= value <= high:
            span = f"at least {low}" if high == float("inf") else f"from {low} to {high}"
            raise ValueError(f"{name} must be {span}; got {value!r}")
