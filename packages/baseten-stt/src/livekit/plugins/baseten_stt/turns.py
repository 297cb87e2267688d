"""From transcripts to LiveKit's events: balanced turns, honest times."""

from __future__ import annotations

from collections.abc import Callable

from livekit.agents import LanguageCode, stt
from livekit.agents.types import TimedString

from .languages import AUTO
from .protocols import Transcript

__all__ = ["Turns"]


class Turns:
    """Makes START_OF_SPEECH, INTERIM, PREFLIGHT, FINAL and END_OF_SPEECH out of transcripts.

    It outlives connections: a turn that a drop interrupts stays open until its words come again.

    Attributes:
        speaking: Whether a turn is open.
    """

    def __init__(
        self,
        *,
        language: str,
        interims: bool,
        preflight: bool,
        wall: Callable[[float], float],
    ) -> None:
        """Begin in silence.

        Args:
            language: Code of the language asked for, said of transcripts that name none.
            interims: Whether interim transcripts are wanted.
            preflight: Whether two equal interims make a preflight transcript.
            wall: The wall clock's time at a number of seconds into the stream.
        """
        self.speaking = False
        self._language = language
        self._interims = interims
        self._preflight = preflight
        self._wall = wall
        self._last = ""
        self._announced = ""
        self._began = 0.0

    def configure(self, *, language: str) -> None:
        """Change the language asked for."""
        self._language = language

    def hear(
        self,
        transcript: Transcript,
        *,
        to_stream: Callable[[float], float],
        offset: float,
        request_id: str,
        goes_on: bool = False,
    ) -> list[stt.SpeechEvent]:
        """The events that a transcript makes.

        Args:
            transcript: What was heard.
            to_stream: From the server's seconds to seconds into the stream.
            offset: What is added to every time that is reported.
            request_id: Id of the connection.
            goes_on: That speech goes on after this final, which was forced by its length.
        """
        if not transcript.text:
            if transcript.final and not goes_on:
                return self.close(request_id)
            return []
        start = None if transcript.start is None else to_stream(transcript.start)
        end = None if transcript.end is None else to_stream(transcript.end)
        data = self._data(transcript, start, end, to_stream, offset)
        events = []
        if not self.speaking:
            self.speaking = True
            began = None if start is None else self._wall(start)
            self._began = began or 0.0
            events.append(
                stt.SpeechEvent(
                    type=stt.SpeechEventType.START_OF_SPEECH,
                    request_id=request_id,
                    speech_start_time=began,
                )
            )
        kind = stt.SpeechEventType.INTERIM_TRANSCRIPT
        if transcript.final:
            kind = stt.SpeechEventType.FINAL_TRANSCRIPT
        elif self._preflight and data.text == self._last:
            if data.text == self._announced:
                return events
            self._announced = data.text
            kind = stt.SpeechEventType.PREFLIGHT_TRANSCRIPT
        elif not self._interims:
            return events
        self._last = "" if transcript.final else data.text
        ended = None
        if transcript.final and end is not None:
            # Audio that comes faster than it was spoken has no true times.
            ended = max(self._began, self._wall(end))
        events.append(
            stt.SpeechEvent(
                type=kind, request_id=request_id, alternatives=[data], speech_end_time=ended
            )
        )
        if transcript.final:
            self._announced = ""
            if not goes_on:
                events += self.close(request_id, ended)
        return events

    def close(self, request_id: str = "", ended: float | None = None) -> list[stt.SpeechEvent]:
        """End the turn, if one is open."""
        if not self.speaking:
            return []
        self.speaking = False
        self._last = self._announced = ""
        return [
            stt.SpeechEvent(
                type=stt.SpeechEventType.END_OF_SPEECH,
                request_id=request_id,
                speech_end_time=ended,
            )
        ]

    def _data(
        self,
        transcript: Transcript,
        start: float | None,
        end: float | None,
        to_stream: Callable[[float], float],
        offset: float,
    ) -> stt.SpeechData:
        language = transcript.language
        if not language and self._language != AUTO:
            language = LanguageCode(self._language)
        words = [
            TimedString(
                text,
                start_time=offset + to_stream(begun),
                end_time=offset + to_stream(over),
                confidence=0.0 if confidence is None else confidence,
                start_time_offset=offset,
                speaker_id=speaker,
            )
            for text, begun, over, confidence, speaker in transcript.words
        ]
        return stt.SpeechData(
            language=language,
            text=transcript.text,
            # 0 says that a time isn't known; the bare offset would name a time long past.
            start_time=0.0 if start is None else offset + start,
            end_time=0.0 if end is None else offset + end,
            confidence=transcript.confidence,
            speaker_id=transcript.speaker,
            words=words or None,
            metadata=transcript.details or None,
        )
