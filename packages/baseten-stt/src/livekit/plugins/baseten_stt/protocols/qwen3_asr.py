"""Streaming Qwen3-ASR, v1: JSON messages with base64 audio, ended by a commit.

https://docs.baseten.co/reference/inference-api/predict-endpoints/streaming-transcription-api#qwen3-asr-streaming
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, ClassVar

from ..languages import qwen_name
from ..options import STTOptions
from .base import Alive, Defaults, Heard, Transcript
from .transcription import read_error, read_message, read_transcript

__all__ = ["Qwen3ASRProtocol"]

_RATE = 16000
_COMMIT = '{"type": "input_audio_buffer.commit"}'


class Qwen3ASRProtocol:
    """One connection to a streaming Qwen3-ASR deployment."""

    defaults: ClassVar[Defaults] = Defaults(
        language="auto",
        partial_transcript_interval_s=0.5,
        vad_min_silence_duration_ms=500,
        vad_speech_pad_ms=100,
        # The aligner is off on a deployment unless it was switched on there.
        show_word_timestamps=False,
    )
    keyterms: ClassVar[bool] = True

    def __init__(self, options: STTOptions) -> None:
        """Start a connection with these options."""
        self._options = options
        self.sample_rate = _RATE
        self.frame_samples = _RATE // 20
        self.whole_frames = False
        self._commits = 0
        self._uncommitted = False
        self._ending = False
        self._last_final: Transcript | None = None

    @property
    def due(self) -> bool:
        """Whether a commit waits for its final."""
        return self._commits > 0

    @property
    def ended(self) -> bool:
        """Whether every commit has its final."""
        return self._ending and self._commits == 0

    @property
    def checking(self) -> bool:
        """Never: there are no health checks."""
        return False

    def _configuration(self) -> dict[str, Any]:
        options = self._options
        whisper: dict[str, Any] = {
            "audio_language": qwen_name(options.language),
            "show_word_timestamps": options.show_word_timestamps,
        }
        prompt = options.full_prompt(with_keyterms=False)
        if prompt:
            whisper["prompt"] = prompt
        if options.all_keyterms:
            whisper["keyterms"] = options.all_keyterms
        return {
            "whisper_params": {**whisper, **options.whisper_params},
            "streaming_params": {
                "enable_partial_transcripts": options.enable_partial_transcripts,
                "partial_transcript_interval_s": options.partial_transcript_interval_s,
                "final_transcript_max_duration_s": options.final_transcript_max_duration_s,
                **options.streaming_params,
            },
            "streaming_vad_config": {
                "threshold": options.vad_threshold,
                "min_silence_duration_ms": options.vad_min_silence_duration_ms,
                "speech_pad_ms": options.vad_speech_pad_ms,
                **options.streaming_vad_config,
            },
            **options.metadata,
        }

    def opening(self) -> list[str]:
        """The configuration."""
        return [json.dumps(self._configuration())]

    def configured(self) -> list[str]:
        """The dotted configuration keys."""
        return sorted(
            f"{group}.{name}" if isinstance(values, dict) else group
            for group, values in self._configuration().items()
            for name in (values if isinstance(values, dict) else [""])
        )

    def frame(self, pcm: bytes) -> str:
        """A piece of audio, of any length."""
        self._uncommitted = True
        audio = b64encode(pcm).decode("ascii")
        return f'{{"type": "input_audio_buffer.append", "audio": "{audio}"}}'

    def flush_silence(self) -> int:
        """None: a message does it."""
        return 0

    def flush(self) -> list[str]:
        """Commit what was sent since the last commit, if anything was."""
        if not self._uncommitted:
            return []
        self._uncommitted = False
        self._commits += 1
        return [_COMMIT]

    def end(self) -> list[str]:
        """Commit the rest."""
        self._ending = True
        return self.flush()

    def health_check(self) -> str | None:
        """None: the protocol has no such message."""
        return None

    def receive(self, message: str | bytes) -> list[Heard]:
        """What a message says."""
        parsed = read_message(message)
        kind = parsed.get("type")
        if kind == "error":
            return [read_error(parsed)]
        if kind not in (None, "transcription"):
            return [Alive()]
        transcript = read_transcript(parsed)
        if transcript.final:
            # The same words without a number or a time may have been said twice.
            told_apart = transcript.end is not None or "transcription_num" in transcript.details
            if transcript.text and told_apart and transcript == self._last_final:
                return [Alive()]  # the same message twice
            self._last_final = transcript
            if transcript.flushed and self._commits:
                self._commits -= 1
        return [transcript]
