"""What is said to servers that hear chords; both sides must learn the words in the same order."""

from __future__ import annotations

import numpy as np

from livekit.plugins.baseten_sandbox.engines.tones import GAP_SECONDS, speak

__all__ = ["RATE", "WORDS", "say"]

RATE = 16000
WORDS = [f"w{number}" for number in range(60)]


def say(words: list[str], *, silence: float = 0.0) -> bytes:
    """Words as 16-bit audio, which ends with the last word's sound.

    Args:
        words: Out of :data:`WORDS`.
        silence: Seconds of it in front of them.
    """
    speak(WORDS)
    pcm = speak(words)[0]
    quiet = np.zeros(round(silence * RATE), np.int16)
    return np.concatenate([quiet, pcm[: len(pcm) - round(GAP_SECONDS * RATE)]]).tobytes()
