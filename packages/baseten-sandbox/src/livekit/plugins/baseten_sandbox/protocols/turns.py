"""Where speech begins and ends: the iterator that Baseten's streaming transcription counts with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from ..engines import SpeechDetector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WINDOW", "TurnCounter"]

WINDOW = 512
"""Samples a frame."""


class TurnCounter:
    """Counts frames of 512 samples into turns.

    Speech starts at a frame whose probability reaches the threshold. It ends
    ``1 + ceil(min_silence_ms * 16 / 512)`` frames after the first one below threshold - 0.15, unless
    one reaches the threshold in between.

    Args:
        detector: Gives the probabilities.
        threshold: Probability at which speech starts.
        min_silence_ms: Silence that ends a turn.
    """

    def __init__(self, detector: SpeechDetector, *, threshold: float, min_silence_ms: int) -> None:
        self._detector = detector
        self._threshold = threshold
        self._silent_frames_to_end = 1 + math.ceil(min_silence_ms * 16 / WINDOW)
        self._since_silence: int | None = None
        self.speaking = False

    def feed(self, frame: NDArray[np.int16]) -> Literal["start", "end"] | None:
        """Take one frame of 512 samples; tell whether a turn started or ended with it."""
        probability = self._detector.probability(frame)
        if probability >= self._threshold:
            self._since_silence = None
            if not self.speaking:
                self.speaking = True
                return "start"
            return None
        if not self.speaking:
            return None
        if self._since_silence is not None:
            self._since_silence += 1
        if probability < self._threshold - 0.15:
            if self._since_silence is None:
                self._since_silence = 1
            if self._since_silence >= self._silent_frames_to_end:
                self.reset()
                return "end"
        return None

    def reset(self) -> None:
        """Forget the turn in progress."""
        self.speaking = False
        self._since_silence = None
