"""Streaming Whisper, v1: metadata as JSON, then binary frames of 32 ms.

https://docs.baseten.co/reference/inference-api/predict-endpoints/streaming-transcription-api

Facts that the server enforces: it knows no metadata keys but its own (so an older runtime refuses a
newer key; what isn't set isn't sent), and runs its VAD on each frame, which must be exactly 512
samples at 16 kHz. µ-law is taken for 8 kHz and doubled, so there a frame is 256 samples. Whatever
``sample_rate`` says, PCM is taken for 16 kHz.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, ClassVar

from ..audio import encode_mulaw
from ..languages import whisper_code
from ..options import STTOptions
from .base import Alive, Defaults, Heard, Transcript
from .transcription import read_error, read_message, read_transcript

__all__ = ["WhisperProtocol"]

_FRAME_MS = 32
_HEALTH_CHECK = '{"type": "health_check"}'
_END_AUDIO = '{"type": "end_audio"}'
_NOT_UNDERSTOOD = re.compile(r"validate|unhandled|unknown|unsupported|invalid", re.IGNORECASE)
# The VAD's probability takes a few frames to fall after the last loud one.
_FLUSH_MARGIN = 4


class WhisperProtocol:
    """One connection to a streaming Whisper deployment."""

    defaults: ClassVar[Defaults] = Defaults(
        language="en",
        partial_transcript_interval_s=1.0,
        vad_min_silence_duration_ms=300,
        vad_speech_pad_ms=30,
        show_word_timestamps=True,
    )
    keyterms: ClassVar[bool] = True

    def __init__(self, options: STTOptions) -> None:
        """Start a connection with these options."""
        self._options = options
        self._mulaw = options.encoding == "pcm_mulaw"
        self.sample_rate = 8000 if self._mulaw else 16000
        self.frame_samples = self.sample_rate * _FRAME_MS // 1000
        self.whole_frames = True
        self._last_final: tuple[int, str] | None = None
        self._ending = False
        self._finished = False
        # Runtimes of the older names may take any text after the first for audio.
        self._checks_known = None if options.metadata_format == "current" else False
        self._check_open = False

    @property
    def due(self) -> bool:
        """Whether the end of audio waits for its confirmation."""
        return self._ending and not self._finished

    @property
    def ended(self) -> bool:
        """Whether the end of audio was confirmed."""
        return self._finished

    @property
    def checking(self) -> bool:
        """Whether a health check is unanswered though earlier ones were answered."""
        return self._check_open and self._checks_known is True

    def _metadata(self) -> dict[str, Any]:
        options = self._options
        whisper: dict[str, Any] = {
            "audio_language": whisper_code(options.language),
            "show_word_timestamps": options.show_word_timestamps,
        }
        prompt = options.full_prompt(with_keyterms=True)
        optional: dict[str, Any] = {
            "prompt": prompt or None,
            "language_options": [whisper_code(code) for code in options.language_options] or None,
            "output_language": options.output_language,
            "use_dynamic_preprocessing": options.use_dynamic_preprocessing,
            "show_beam_results": options.show_beam_results,
            "whisper_sampling_params": dict(options.whisper_sampling_params) or None,
        }
        whisper |= {name: value for name, value in optional.items() if value is not None}
        whisper |= options.whisper_params
        streaming: dict[str, Any] = {
            "encoding": options.encoding,
            "sample_rate": self.sample_rate,
            "enable_partial_transcripts": options.enable_partial_transcripts,
            "partial_transcript_interval_s": options.partial_transcript_interval_s,
            "final_transcript_max_duration_s": int(options.final_transcript_max_duration_s),
            **options.streaming_params,
        }
        vad: dict[str, Any] = {
            "threshold": options.vad_threshold,
            "min_silence_duration_ms": int(options.vad_min_silence_duration_ms),
            "speech_pad_ms": int(options.vad_speech_pad_ms),
            **options.streaming_vad_config,
        }
        if options.metadata_format == "oldest":
            names = ("encoding", "sample_rate", "enable_partial_transcripts")
            oldest = {name: streaming[name] for name in names}
            oldest["audio_language"] = whisper["audio_language"]
            return {"vad_params": vad, "streaming_whisper_params": oldest, **options.metadata}
        vad_name = "vad_params" if options.metadata_format == "legacy" else "streaming_vad_config"
        return {
            "whisper_params": whisper,
            "streaming_params": streaming,
            vad_name: vad,
            **options.metadata,
        }

    def opening(self) -> list[str]:
        """The metadata, and a health check whose answer shows that it was accepted."""
        check = self.health_check()
        return [json.dumps(self._metadata()), *([check] if check else [])]

    def configured(self) -> list[str]:
        """The dotted metadata keys."""
        return sorted(
            f"{group}.{name}" if isinstance(values, dict) else group
            for group, values in self._metadata().items()
            for name in (values if isinstance(values, dict) else [""])
        )

    def frame(self, pcm: bytes) -> bytes:
        """A frame of audio."""
        return encode_mulaw(pcm) if self._mulaw else pcm

    def flush_silence(self) -> int:
        """Frames until the VAD takes the turn for ended: 11 at 300 ms, and a margin."""
        silence = self._options.vad_min_silence_duration_ms
        return 1 + math.ceil(silence / _FRAME_MS) + _FLUSH_MARGIN

    def flush(self) -> list[str]:
        """Nothing: the protocol has no message for it."""
        return []

    def end(self) -> list[str]:
        """Say that no audio follows. The server acknowledges, sends what is left, and confirms."""
        self._ending = True
        return [_END_AUDIO]

    def health_check(self) -> str | None:
        """Ask for a sign of life."""
        if self._checks_known is False or self._check_open:
            return None
        self._check_open = True
        return _HEALTH_CHECK

    def receive(self, message: str | bytes) -> list[Heard]:
        """What a message says."""
        parsed = read_message(message)
        kind = parsed.get("type")
        if kind == "end_audio":
            body = parsed.get("body")
            if self._ending and isinstance(body, dict) and body.get("status") == "finished":
                self._finished = True
            return [Alive()]
        if kind == "health_check":
            self._checks_known = True
            self._check_open = False
            return [Alive()]
        if kind == "error":
            lost = read_error(parsed)
            if (
                self._check_open
                and self._checks_known is None
                and _NOT_UNDERSTOOD.search(str(lost.error))
            ):
                # An older runtime that has no health checks, but has read the metadata.
                self._checks_known = False
                self._check_open = False
                return [Alive()]
            return [lost]
        if kind not in (None, "transcription"):
            return [Alive()]
        transcript = read_transcript(parsed)
        return [Alive()] if self._is_repeat(transcript) else [transcript]

    def _is_repeat(self, transcript: Transcript) -> bool:
        number = transcript.details.get("transcription_num")
        if not isinstance(number, int):
            return False
        last = self._last_final
        if transcript.final:
            self._last_final = (number, transcript.text)
            return last == self._last_final
        # A partial that was overtaken by its final.
        return last is not None and number < last[0]
