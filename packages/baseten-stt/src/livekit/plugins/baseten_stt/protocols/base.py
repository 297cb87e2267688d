"""What a protocol is: audio in, wire messages out; wire messages in, results out. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

from livekit.agents import APIError, LanguageCode

from ..options import STTOptions

__all__ = ["Alive", "Defaults", "Heard", "Lost", "SpeechProtocol", "Transcript", "Word"]

_UNKNOWN = LanguageCode("")


class Word(NamedTuple):
    """A word and when it was said, in seconds from the start of the connection's audio."""

    text: str
    start: float
    end: float
    confidence: float | None = None
    speaker: str | None = None


@dataclass(slots=True)  # frozen would take twice as long to make
class Transcript:
    """What was said in a segment, so far or for good.

    Attributes:
        final: Whether it stays as it is. One that isn't final replaces the one before.
        text: The words; may be blank.
        language: What the server detected; blank when it doesn't say.
        start: Seconds from the start of the connection's audio; None when unknown.
        end: Likewise.
        confidence: 0 to 1, 0 when unknown.
        words: The words with their times, where asked for.
        speaker: Who spoke, where told apart.
        flushed: Whether it answers :meth:`SpeechProtocol.flush` or :meth:`SpeechProtocol.end`.
        details: What else the server said, by its own names.
    """

    final: bool
    text: str
    language: LanguageCode = _UNKNOWN
    start: float | None = None
    end: float | None = None
    confidence: float = 0.0
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    flushed: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    def cut_off(self, longest: float) -> bool:
        """Whether it is final only because speech went on for as long as a segment may get.

        Args:
            longest: Seconds of the longest segment.
        """
        if not self.final or self.flushed:
            return False
        span = (self.end or 0.0) - (self.start or 0.0)
        length = self.details.get("audio_length_sec")
        return span >= longest - 1.5 or (
            isinstance(length, (int, float)) and length >= longest - 0.1
        )


@dataclass(frozen=True)
class Alive:
    """A sign of life, which also shows that the configuration was accepted."""


@dataclass(frozen=True)
class Lost:
    """An error that the connection survives.

    Attributes:
        error: The error.
        segment: Whether it cost a segment its transcript.
    """

    error: APIError
    segment: bool = True


Heard = Transcript | Alive | Lost


@dataclass(frozen=True)
class Defaults:
    """Defaults of options that differ by protocol."""

    language: str
    partial_transcript_interval_s: float
    vad_min_silence_duration_ms: int
    vad_speech_pad_ms: int
    show_word_timestamps: bool


class SpeechProtocol(Protocol):
    """One connection's side of a wire protocol.

    A new one is a class with these members in a file of its own, and a line in
    :data:`~.PROTOCOLS`. It sees no socket and no clock.
    """

    defaults: ClassVar[Defaults]
    """Defaults of the options that differ by protocol."""
    keyterms: ClassVar[bool]
    """Whether it has a use for key terms."""

    sample_rate: int
    """Hz on the wire."""
    frame_samples: int
    """Samples in each call of :meth:`frame`."""
    whole_frames: bool
    """Whether the last frame before a flush or the end is filled up with silence."""

    def __init__(self, options: STTOptions) -> None: ...

    @property
    def due(self) -> bool:
        """Whether the server owes an answer."""

    @property
    def ended(self) -> bool:
        """Whether all is said after :meth:`end`."""

    @property
    def checking(self) -> bool:
        """Whether a health check is unanswered that the server is known to answer."""

    def opening(self) -> list[str]:
        """The first messages."""

    def configured(self) -> list[str]:
        """The dotted names of what :meth:`opening` configures, for error messages."""

    def frame(self, pcm: bytes) -> str | bytes:
        """A message with audio: 16-bit PCM at :attr:`sample_rate`."""

    def flush_silence(self) -> int:
        """How many frames of silence it takes to end a segment; 0 where a message does it."""

    def flush(self) -> list[str]:
        """Messages that end the segment now."""

    def end(self) -> list[str]:
        """Messages that end the audio."""

    def health_check(self) -> str | None:
        """A message that the server answers at once; None where there is none."""

    def receive(self, message: str | bytes) -> list[Heard]:
        """What a message says.

        Raises:
            APIError: the server reports an error that ends the connection, or can't be understood.
        """
