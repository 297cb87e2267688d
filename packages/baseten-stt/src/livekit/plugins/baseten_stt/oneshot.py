"""One-shot recognition over a streaming deployment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from livekit import rtc
from livekit.agents import APIConnectOptions, LanguageCode, stt

from .dialer import Dialer
from .languages import joiner
from .options import STTOptions
from .stream import SpeechStream

if TYPE_CHECKING:
    from .stt import STT

__all__ = ["OneShotStream"]


class OneShotStream(SpeechStream):
    """A single attempt, whose failure and usage :meth:`.STT.recognize` reports."""

    def __init__(
        self, *, stt: STT, options: STTOptions, dialer: Dialer, conn_options: APIConnectOptions
    ) -> None:
        """Begin to connect; see :class:`.SpeechStream`."""
        super().__init__(
            stt=stt,
            options=replace(options, enable_partial_transcripts=False, preflight=False),
            dialer=dialer,
            # The framework's retries are around the whole.
            conn_options=replace(conn_options, max_retry=0),
        )

    async def recognize(self, frame: rtc.AudioFrame) -> stt.SpeechEvent:
        """Everything that is said in a recording, as one final.

        Raises:
            APIError: the attempt failed.
        """
        self.push_frame(frame)
        self.end_input()
        finals = [e async for e in self if e.type == stt.SpeechEventType.FINAL_TRANSCRIPT]
        parts = [event.alternatives[0] for event in finals]
        language = next((part.language for part in parts if part.language), LanguageCode(""))
        known = [part.confidence for part in parts if part.confidence]
        data = stt.SpeechData(
            language=language,
            text=joiner(language).join(part.text for part in parts),
            start_time=parts[0].start_time if parts else 0.0,
            end_time=parts[-1].end_time if parts else 0.0,
            confidence=sum(known) / len(known) if known else 0.0,
            speaker_id=parts[0].speaker_id if parts else None,
            words=[word for part in parts for word in part.words or ()] or None,
        )
        return stt.SpeechEvent(
            type=stt.SpeechEventType.FINAL_TRANSCRIPT,
            request_id=finals[0].request_id if finals else "",
            alternatives=[data],
        )

    def _emit_error(self, api_error: Exception, recoverable: bool) -> None:
        pass

    def _report_connection_acquired(self, acquire_time: float, connection_reused: bool) -> None:
        pass

    def _send_event(self, event: stt.SpeechEvent) -> None:
        if event.type != stt.SpeechEventType.RECOGNITION_USAGE:
            super()._send_event(event)
