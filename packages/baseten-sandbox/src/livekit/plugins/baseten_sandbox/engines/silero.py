"""Silero VAD, native."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SileroDetector"]


class SileroDetector:
    """Speech probabilities of Silero VAD for one stream."""

    def __init__(self) -> None:
        from livekit.local_inference import VAD

        self._vad = VAD()

    def probability(self, pcm: NDArray[np.int16]) -> float:
        """See `SpeechDetector.probability`."""
        return float(self._vad.predict(pcm))
