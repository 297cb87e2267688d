"""Synthetic speech for exact, instant tests: every word is a chord that says which word it is.

A word sounds for 200 ms and 100 ms of silence follow. Its chord holds three of 64 frequencies, all
below 3 kHz, so it survives resampling and telephone coding, and any half of it is enough to read it.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from . import Transcript, Word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "GAP_SECONDS",
    "WORD_SECONDS",
    "ToneDetector",
    "ToneSynthesizer",
    "ToneTranscriber",
    "read",
    "silence",
    "speak",
]

WORD_SECONDS = 0.2
GAP_SECONDS = 0.1
_BASE, _STEP, _COUNT = 320.0, 40.0, 64
_AMPLITUDE = 3000.0
_AUDIBLE = 300

_chords: list[tuple[int, int, int]] = [
    chord
    for chord in combinations(range(_COUNT), 3)
    # Neighbouring frequencies would run into each other in half a word.
    if chord[1] - chord[0] > 1 and chord[2] - chord[1] > 1
]
_words: dict[tuple[int, int, int], str] = {}
_known: dict[str, tuple[int, int, int]] = {}
_lock = threading.Lock()


def _chord(word: str) -> tuple[int, int, int]:
    with _lock:
        if word not in _known:
            slot = zlib.crc32(word.encode()) % len(_chords)
            while _chords[slot] in _words:
                slot = (slot + 1) % len(_chords)
            _words[_chords[slot]] = word
            _known[word] = _chords[slot]
        return _known[word]


def _tone(word: str, rate: int) -> NDArray[np.int16]:
    import numpy as np

    t = np.arange(round(WORD_SECONDS * rate)) / rate
    wave = sum(np.cos(2 * np.pi * (_BASE + _STEP * i) * t) for i in _chord(word))
    return np.asarray(wave * _AMPLITUDE, dtype=np.int16)


def silence(seconds: float, *, rate: int = 16000) -> NDArray[np.int16]:
    """Exact silence of that many seconds."""
    import numpy as np

    return np.zeros(round(seconds * rate), dtype=np.int16)


def speak(
    words: str | Iterable[str], *, rate: int = 16000, gap: float = GAP_SECONDS
) -> tuple[NDArray[np.int16], tuple[Word, ...]]:
    """Say words as chords.

    Args:
        words: Words, or a text that is split at white space. Case and punctuation belong to a word.
        rate: Sample rate in Hz.
        gap: Silence after each word, in seconds.

    Returns:
        The audio and when each word sounds in it.
    """
    import numpy as np

    pieces: list[NDArray[np.int16]] = []
    said: list[Word] = []
    at = 0
    for word in words.split() if isinstance(words, str) else words:
        tone, pause = _tone(word, rate), silence(gap, rate=rate)
        said.append(Word(word, at / rate, (at + len(tone)) / rate, 0.99))
        pieces += [tone, pause]
        at += len(tone) + len(pause)
    if not pieces:
        return silence(0.0), ()
    return np.concatenate(pieces), tuple(said)


def read(pcm: NDArray[np.int16] | bytes, *, rate: int = 16000) -> tuple[Word, ...]:
    """Read chords back.

    A word that is cut off counts when more than half of it is there. A chord that no word of this
    process has is read as ``"?"``: broken audio shows instead of vanishing.

    Args:
        pcm: Mono audio, samples of 16 bits.
        rate: Its sample rate in Hz.
    """
    import numpy as np

    samples = np.frombuffer(pcm, dtype="<i2") if isinstance(pcm, bytes) else pcm
    full = round(WORD_SECONDS * rate)
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > _AUDIBLE)
    if not len(loud):
        return ()
    # A chord crosses zero, but never stays near it for 20 ms.
    breaks = np.flatnonzero(np.diff(loud) > 0.02 * rate)
    starts = loud[np.concatenate(([0], breaks + 1))]
    ends = loud[np.concatenate((breaks, [len(loud) - 1]))] + 1
    found: list[Word] = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        for at in range(start, end, full):
            until = min(at + full, end)
            if (until - at) * 2 > full:
                found.append(
                    Word(_recognize(samples[at:until], rate), at / rate, until / rate, 0.99)
                )
    return tuple(found)


def _recognize(tone: NDArray[np.int16], rate: int) -> str:
    import numpy as np

    # As many points as samples a second: then each bin is one Hz.
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone)), n=rate))
    strength = spectrum[int(_BASE) : int(_BASE + _STEP * _COUNT) : int(_STEP)]
    a, b, c = sorted(np.argsort(strength)[-3:].tolist())
    if strength[[a, b, c]].min() < 0.4 * strength.max():
        return "?"
    return _words.get((a, b, c), "?")


class ToneTranscriber:
    """Reads chords back as words."""

    instant = True

    def load(self) -> None:
        """There is nothing to load."""

    def transcribe(
        self, pcm: NDArray[np.float32], *, language: str | None, word_times: bool
    ) -> Transcript:
        """See `Transcriber.transcribe`."""
        import numpy as np

        words = read(np.asarray(np.round(pcm * 32768.0), dtype=np.int16))
        return Transcript(
            " ".join(word.text for word in words),
            words if word_times else (),
            -0.01,
            language or "en",
            0.99,
        )


class ToneSynthesizer:
    """Speaks each word of a text as its chord, one chunk a word."""

    def load(self) -> None:
        """There is nothing to load."""

    def synthesize(self, text: str, *, voice: str | None) -> Iterator[NDArray[np.int16]]:
        """See `Synthesizer.synthesize`."""
        for word in text.split():
            yield speak([word], rate=24000)[0]


class ToneDetector:
    """Hears a chord as speech and all else as silence."""

    def probability(self, pcm: NDArray[np.int16]) -> float:
        """See `SpeechDetector.probability`."""
        import numpy as np

        loud = int(np.count_nonzero(np.abs(pcm.astype(np.int32)) > _AUDIBLE))
        return 0.99 if loud * 2 > len(pcm) else 0.01
