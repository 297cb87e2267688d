"""Hibari, a small English text-to-speech model whose weights ride in its wheel."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["HibariSynthesizer", "pitch_of"]

_PITCHES = (1.0, 0.88, 1.12, 0.94, 1.06, 0.82, 1.18)


def pitch_of(voice: str | None) -> float:
    """How much higher a voice is: there is one in the wheel, and Orpheus' default is the plain one."""
    if not voice or voice == "tara":
        return 1.0
    return _PITCHES[zlib.crc32(voice.lower().encode()) % len(_PITCHES)]


class HibariSynthesizer:
    """Speaks English text; the same text and voice give the same samples."""

    def __init__(self) -> None:
        self._model: Any = None
        self._lock = threading.Lock()

    def load(self) -> None:
        """Load the weights."""
        with self._lock:
            if self._model is None:
                # onnxruntime tells its makers of its use otherwise: nothing may leave this machine.
                os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
                from hibari import Hibari  # type: ignore[import-untyped]

                self._model = Hibari(threads=1)

    def synthesize(self, text: str, *, voice: str | None) -> Iterator[NDArray[np.int16]]:
        """See `Synthesizer.synthesize`."""
        import numpy as np

        self.load()
        if not any(character.isalnum() for character in text):
            return
        pitch = pitch_of(voice)
        # Resampling moves pitch and tempo together; speaking at the inverse speed keeps the tempo.
        for audio in self._model.stream(text, speed=1.0 / pitch, seed=0):
            if pitch != 1.0:
                at = np.arange(0.0, len(audio) - 1, pitch)
                audio = np.interp(at, np.arange(len(audio)), audio)
            yield (np.clip(audio, -1.0, 1.0) * 32767.0).astype(np.int16)
