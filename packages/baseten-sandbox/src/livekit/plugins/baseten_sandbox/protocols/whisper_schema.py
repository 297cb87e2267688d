"""What the Whisper runtime accepts as configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .recognition import RecognitionOptions
from .schema import (
    Invalid,
    boolean,
    check,
    integer,
    mapping,
    nullable,
    number,
    strings,
    text,
)

__all__ = ["Metadata", "parse_metadata", "parse_whisper_params"]

_SAMPLING = {
    "beam_width": integer,
    "length_penalty": number,
    "repetition_penalty": number,
    "beam_search_diversity_rate": nullable(number),
    "no_repeat_ngram_size": nullable(integer),
    "sampling_temperatures": lambda value: [number(item) for item in value],
    "max_new_tokens": integer,
}
_WHISPER = {
    "prompt": text,
    "prefix": text,
    "audio_language": text,
    "output_language": text,
    "language_detection_only": boolean,
    "language_options": strings,
    "use_dynamic_preprocessing": boolean,
    "show_word_timestamps": boolean,
    "show_beam_results": boolean,
    "enable_vad": boolean,
    "enable_chunk_level_language_detection": boolean,
    "whisper_sampling_params": lambda value: check(value, _SAMPLING, "whisper_sampling_params"),
    "use_missing_chunk_retry": boolean,
    "missing_chunk_wpm_threshold": number,
    "enable_diarization": nullable(boolean),
    "diarization_granularity": text,
    "enable_final_diarization": boolean,
    "enable_word_level_diarization": boolean,
    "enable_sentence_level_diarization": boolean,
}
_STREAMING = {
    "encoding": text,
    "sample_rate": integer,
    "enable_partial_transcripts": boolean,
    "partial_transcript_interval_s": number,
    "final_transcript_max_duration_s": integer,
    "prioritize_latency": boolean,
    "skip_partial_if_hallucination": boolean,
    "include_pipeline_latency_metric": boolean,
}
# The runtime hands these to its VAD as keyword arguments, so another one raises there.
_VAD = {
    "threshold": number,
    "min_silence_duration_ms": integer,
    "speech_pad_ms": integer,
    "sampling_rate": integer,
}
_TOP = {
    "whisper_params": lambda value: parse_whisper_params(value),
    "streaming_params": lambda value: check(value, _STREAMING, "streaming_params"),
    "streaming_vad_config": lambda value: check(value, _VAD, "streaming_vad_config"),
    "streaming_diarization_config": mapping,
    "diarization_config": mapping,
    "stream_id": nullable(text),
    "include_timing_info": boolean,
}


def parse_whisper_params(value: Any) -> dict[str, Any]:
    """Check ``whisper_params``, which streaming and batch share."""
    return check(value, _WHISPER, "whisper_params")


@dataclass(frozen=True)
class Metadata:
    """The first frame of a streaming session, with the runtime's defaults filled in."""

    recognition: RecognitionOptions
    encoding: str
    vad_rate: int
    detect_only: bool
    timing_info: bool


def parse_metadata(value: Any, *, unknown: Iterable[str] = ()) -> Metadata:
    """Check a metadata frame.

    Args:
        value: The frame, parsed.
        unknown: Keys of any level that this runtime is too old to know.

    Raises:
        Invalid: It isn't what the runtime accepts.
    """
    top = check(value, _TOP, "metadata")
    sections = [top, *(section for section in top.values() if isinstance(section, dict))]
    for key in unknown:
        if any(key in section for section in sections):
            raise Invalid(f"{key}: extra inputs are not permitted")
    whisper = top.get("whisper_params", {})
    streaming = top.get("streaming_params", {})
    vad = top.get("streaming_vad_config", {})
    if streaming.get("encoding", "pcm_s16le") not in ("pcm_s16le", "pcm_mulaw"):
        raise Invalid("streaming_params.encoding: unknown encoding")
    if vad.get("sampling_rate", 16000) not in (8000, 16000):
        raise Invalid("streaming_vad_config.sampling_rate: 8000 or 16000")
    language = whisper.get("audio_language", "en")
    return Metadata(
        recognition=RecognitionOptions(
            language=None if language == "auto" else language,
            word_times=whisper.get("show_word_timestamps", False),
            partials=streaming.get("enable_partial_transcripts", False),
            partial_interval=streaming.get("partial_transcript_interval_s", 0.5),
            max_duration=min(streaming.get("final_transcript_max_duration_s", 30), 30),
            threshold=vad.get("threshold", 0.5),
            min_silence_ms=vad.get("min_silence_duration_ms", 300),
            speech_pad_ms=vad.get("speech_pad_ms", 0),
        ),
        encoding=streaming.get("encoding", "pcm_s16le"),
        vad_rate=vad.get("sampling_rate", 16000),
        detect_only=whisper.get("language_detection_only", False),
        timing_info=top.get("include_timing_info", False),
    )
