"""The models behind the protocols, each behind one small interface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SpeechDetector", "Synthesizer", "Transcriber", "Transcript", "Word"]


@dataclass(frozen=True)
class Word:
    """One word of a transcript.

    Attributes:
        text: The word, without spaces around it.
        start: Seconds from the start of the audio.
        end: Seconds from the start of the audio.
        probability: 0 to 1.
    """

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Transcript:
    """What was heard.

    Attributes:
        text: The whole text.
        words: Its words with times; empty when they weren't asked for.
        log_prob: Mean log probability of the tokens.
        language: ISO 639-1 code.
        language_probability: 0 to 1.
    """

    text: str
    words: tuple[Word, ...]
    log_prob: float
    language: str
    language_probability: float


class Transcriber(Protocol):
    """Speech to text. The methods block; the sandbox calls them on worker threads."""

    def load(self) -> None:
        """Load the model; a second call does nothing."""

    def transcribe(
        self, pcm: NDArray[np.float32], *, language: str | None, word_times: bool
    ) -> Transcript:
        """Transcribe mono audio at 16 kHz, samples from -1 to 1.

        Args:
            pcm: The audio.
            language: ISO 639-1 code, or ``None`` to detect it.
            word_times: Whether words with times are wanted.
        """
        ...


class Synthesizer(Protocol):
    """Text to speech. The methods block; the sandbox calls them on worker threads."""

    def load(self) -> None:
        """Load the model; a second call does nothing."""

    def synthesize(self, text: str, *, voice: str | None) -> Iterator[NDArray[np.int16]]:
        """Speak a text as chunks of mono audio at 24 kHz."""
        ...


class SpeechDetector(Protocol):
    """Finds speech in one stream; each session has its own."""

    def probability(self, pcm: NDArray[np.int16]) -> float:
        """Probability, 0 to 1, that these 512 samples at 16 kHz are speech."""
        ...
