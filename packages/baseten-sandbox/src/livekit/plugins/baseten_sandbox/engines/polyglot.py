"""Speech in more languages: hibari for English, SVOX Pico for German, Spanish, French, Italian."""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .hibari import HibariSynthesizer, pitch_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PolyglotSynthesizer"]

_RATE, _PICO_RATE = 24000, 16000
_ACCENTS = {
    "de": "de-DE",
    "en-gb": "en-GB",
    "es": "es-ES",
    "fr": "fr-FR",
    "it": "it-IT",
}
# Pico takes what stands in angle brackets for markup.
_MARKUP = re.compile(r"[<>]")
# One call holds the interpreter until all of its text is spoken: a sentence at a time is short
# enough for the sockets. Between a dot and a word there must be a space, or "3.5" would be two.
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n+")
# The engine has state that isn't one call's own.
_speaking = threading.Lock()


def _accent(voice: str | None) -> tuple[str | None, str]:
    """Pico's name of the language that a voice starts with, and what is left of the voice."""
    tags = (voice or "").replace("_", "-").split("-")
    for length in (2, 1):
        tag = "-".join(tags[:length]).lower()
        if tag in _ACCENTS:
            region = len(tags) > length and len(tags[length]) == 2 and tags[length].isupper()
            return _ACCENTS[tag], "-".join(tags[length + region :])
    return None, voice or ""


class PolyglotSynthesizer:
    """Speaks the language that the voice's name starts with, such as ``"de"`` or ``"fr-FR-claire"``.

    ``en-GB`` is British English; every other voice is hibari's. The rest of the name sets the pitch.
    Pico adds noise of its own, so its samples aren't the same twice.

    Attributes:
        languages: ISO 639-1 codes of what may stand in front of a voice.
    """

    languages = frozenset({"de", "es", "fr", "it"})

    def __init__(self) -> None:
        self._english = HibariSynthesizer()
        self._pico: Any = None

    def load(self) -> None:
        """Load the weights.

        Raises:
            ImportError: The extra ``languages`` isn't installed.
        """
        with _speaking:
            if self._pico is None:
                if importlib.util.find_spec("py_nanotts") is None:
                    raise ImportError(
                        "The other languages aren't installed: "
                        "pip install 'livekit-plugins-baseten-sandbox[languages]'"
                    )
                from py_nanotts import NanoTTS  # type: ignore[import-not-found,unused-ignore]

                self._pico = NanoTTS()
        self._english.load()

    def synthesize(self, text: str, *, voice: str | None) -> Iterator[NDArray[np.int16]]:
        """See `Synthesizer.synthesize`."""
        import numpy as np

        accent, name = _accent(voice)
        if accent is None:
            yield from self._english.synthesize(text, voice=voice)
            return
        self.load()
        for sentence in _SENTENCE.split(_MARKUP.sub(" ", text).replace("\0", " ")):
            if not any(character.isalnum() for character in sentence):
                continue
            with _speaking:
                data = self._pico.speak(sentence, voice=accent, pitch=pitch_of(name))
            pcm = np.frombuffer(data, dtype="<i2")
            at = np.arange(0.0, len(pcm), _PICO_RATE / _RATE)
            yield np.interp(at, np.arange(len(pcm)), pcm).astype(np.int16)
