from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from .models import MetadataFormat, STTEncoding

__all__ = ["STTOptions", "WhisperSamplingParams"]

_PROMPT_LIMIT = 800  # characters; Whisper reads 224 tokens at most


class WhisperSamplingParams(TypedDict, total=False):
    """How Whisper decodes (runtime v0.6.0 or newer).

    https://docs.baseten.co/reference/inference-api/predict-endpoints/streaming-transcription-api
    """

    beam_width: int
    length_penalty: float
    repetition_penalty: float
    beam_search_diversity_rate: float
    no_repeat_ngram_size: int
    sampling_temperatures: list[float]
    max_new_tokens: int


@dataclass(frozen=True)
class STTOptions:
    """What a stream is opened with. See :class:`~.stt.STT` for what each means."""

    model: str
    language: str
    language_options: tuple[str, ...] = ()
    encoding: STTEncoding = "pcm_s16le"
    enable_partial_transcripts: bool = True
    partial_transcript_interval_s: float = 1.0
    final_transcript_max_duration_s: float = 30
    show_word_timestamps: bool = True
    vad_threshold: float = 0.5
    vad_min_silence_duration_ms: int = 300
    vad_speech_pad_ms: int = 30
    preflight: bool = False
    prompt: str = field(default="", repr=False)
    keyterms: tuple[str, ...] = field(default=(), repr=False)
    session_keyterms: tuple[str, ...] = field(default=(), repr=False)
    context: str = field(default="", repr=False)
    output_language: str | None = None
    use_dynamic_preprocessing: bool | None = None
    show_beam_results: bool | None = None
    whisper_sampling_params: Mapping[str, Any] = field(default_factory=dict)
    whisper_params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    streaming_params: Mapping[str, Any] = field(default_factory=dict)
    streaming_vad_config: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    metadata_format: MetadataFormat = "current"
    dead_link_timeout: float = 20.0
    cold_start_timeout: float = 120.0
    max_connection_age: float = 3300.0
    replay_speed: float | None = 8.0

    def __post_init__(self) -> None:
        """Check every range.

        Raises:
            ValueError: a value can't be meant; the text says which, and what it may be.
        """
        if not 0.0 <= self.vad_threshold <= 1.0:
            raise ValueError(f"vad_threshold must be from 0 to 1; got {self.vad_threshold!r}")
        for name in ("vad_min_silence_duration_ms", "vad_speech_pad_ms"):
            value = getattr(self, name)
            if int(value) != value or value < 0:
                raise ValueError(f"{name} must be a whole number of milliseconds; got {value!r}")
        for name in (
            "partial_transcript_interval_s",
            "final_transcript_max_duration_s",
            "dead_link_timeout",
            "max_connection_age",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0 s; got {getattr(self, name)!r}")
        if self.cold_start_timeout < 0:
            raise ValueError("cold_start_timeout must be 0 s (don't wait) or more")
        if self.replay_speed is not None and self.replay_speed < 1:
            raise ValueError("replay_speed must be 1 (real time) or more, or None for no limit")
        if self.encoding not in ("pcm_s16le", "pcm_mulaw"):
            raise ValueError(f"encoding must be 'pcm_s16le' or 'pcm_mulaw'; got {self.encoding!r}")
        if self.metadata_format not in ("current", "legacy", "oldest"):
            raise ValueError(
                "metadata_format must be 'current', 'legacy' or 'oldest'; "
                f"got {self.metadata_format!r}"
            )

    @property
    def all_keyterms(self) -> list[str]:
        """The user's terms and the session's, each once."""
        return list(dict.fromkeys((*self.keyterms, *self.session_keyterms)))

    def full_prompt(self, *, with_keyterms: bool) -> str:
        """Prompt, terms and the tail of the conversation, as long as a model reads.

        Args:
            with_keyterms: Put the terms into the text, for a model that has no field for them.
        """
        parts = [self.prompt]
        if with_keyterms and self.all_keyterms:
            parts.append(", ".join(self.all_keyterms) + ".")
        head = " ".join(part for part in parts if part)
        room = _PROMPT_LIMIT - len(head) - 1
        tail = self.context[-room:] if room > 0 else ""
        return " ".join(part for part in (head, tail) if part)

    @property
    def longest_segment(self) -> float:
        """Seconds of speech after which the server forces a final, at most."""
        return min(float(self.final_transcript_max_duration_s), 30.0)
