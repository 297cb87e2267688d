"""When each word of a spoken text sounds."""

from __future__ import annotations

from . import Word
from .tones import read

__all__ = ["align"]

_AUDIBLE = 300


def align(text: str, pcm: bytes, *, rate: int) -> tuple[Word, ...]:
    """Give each word of a text its time in the audio that speaks it.

    Chords are timed exactly; real speech is shared out by the length of the words, which is good
    enough to try word highlighting with.

    Args:
        text: The text spoken.
        pcm: PCM s16le, mono.
        rate: Its sample rate in Hz.
    """
    import numpy as np

    words = text.split()
    exact = read(pcm, rate=rate) if len(pcm) < 2 * rate * 60 else ()
    if [word.text for word in exact] == words:
        return exact
    loud = np.flatnonzero(np.abs(np.frombuffer(pcm, dtype="<i2").astype(np.int32)) > _AUDIBLE)
    if not words or not len(loud):
        return ()
    start, end = float(loud[0]) / rate, float(loud[-1] + 1) / rate
    lengths = np.cumsum([0] + [len(word) + 1 for word in words])
    edges = start + (end - start) * lengths / lengths[-1]
    return tuple(
        Word(word, float(edges[i]), float(edges[i + 1]), 0.9) for i, word in enumerate(words)
    )
