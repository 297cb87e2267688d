"""Moonshine tiny-en on onnxruntime: several times faster than Whisper, with estimated word times."""

from __future__ import annotations

import importlib.util
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import Transcript, Word
from .alignment import align

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MoonshineTranscriber"]

_RATE = 16000
_START, _END = 1, 2
_HEADS, _WIDTH = 8, 36
_LONGEST = 20 * _RATE  # it loses the thread, and much memory, on longer audio
_TOKENS_PER_SECOND = 6.5  # more than anybody says: what the model's makers stop it at
_CARRIER = "moonshine_voice"


def _folder() -> Path:
    # The package is only the carrier of the weights: importing it would ask for a sound card.
    found = importlib.util.find_spec(_CARRIER)
    if found is None or found.origin is None:
        raise ImportError(
            "Moonshine isn't installed: pip install 'livekit-plugins-baseten-sandbox[moonshine]'"
        )
    return Path(found.origin).parent / "assets" / "tiny-en"


def _vocabulary(path: Path) -> list[bytes]:
    """Tokens in order, each behind its length in one byte, or two when it is 128 or more."""
    data, tokens, at = path.read_bytes(), [], 0
    while at < len(data):
        size, at = data[at], at + 1
        if size >= 128:
            size, at = size - 128 + data[at] * 128, at + 1
        tokens.append(data[at : at + size])
        at += size
    return tokens


class MoonshineTranscriber:
    """Transcribes English."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._encoder: Any = None
        self._decoder: Any = None
        self._tokens: list[bytes] = []
        self._caches: list[str] = []

    def load(self) -> None:
        """Load the weights."""
        with self._lock:
            if self._decoder is not None:
                return
            import onnxruntime  # type: ignore[import-untyped]

            folder = _folder()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 3

            def session(name: str) -> Any:
                return onnxruntime.InferenceSession(
                    str(folder / name), options, providers=["CPUExecutionProvider"]
                )

            self._tokens = _vocabulary(folder / "tokenizer.bin")
            self._encoder = session("encoder_model.ort")
            decoder = session("decoder_model_merged.ort")
            names = [given.name for given in decoder.get_inputs()]
            self._caches = [name for name in names if name.startswith("past_key_values.")]
            self._decoder = decoder

    def transcribe(
        self, pcm: NDArray[np.float32], *, language: str | None, word_times: bool
    ) -> Transcript:
        """See `Transcriber.transcribe`."""
        import numpy as np

        self.load()
        texts: list[str] = []
        words: list[Word] = []
        log_probs: list[float] = []
        for at in range(0, max(1, len(pcm)), _LONGEST):
            piece = pcm[at : at + _LONGEST]
            tokens, probabilities = self._decode(piece)
            text = self._text(tokens)
            if not text:
                continue
            texts.append(text)
            log_probs += np.log(np.maximum(probabilities, 1e-9)).tolist()
            if word_times:
                sounds = np.asarray(np.clip(piece, -1.0, 1.0) * 32767.0, dtype="<i2").tobytes()
                mean = float(np.mean(probabilities))
                words += [
                    Word(word.text, word.start + at / _RATE, word.end + at / _RATE, mean)
                    for word in align(text, sounds, rate=_RATE)
                ]
        log_prob = float(np.mean(log_probs)) if log_probs else 0.0
        return Transcript(" ".join(texts), tuple(words), log_prob, "en", 1.0)

    def _decode(self, pcm: NDArray[np.float32]) -> tuple[list[int], list[float]]:
        import numpy as np

        if len(pcm) < _RATE // 10:
            return [], []
        audio = pcm.astype(np.float32)[None, :]
        states = self._encoder.run(
            None,
            {"input_values": audio, "attention_mask": np.ones(audio.shape, dtype=np.int64)},
        )[0]
        mask = np.ones(states.shape[:2], dtype=np.int64)
        empty = np.zeros((1, _HEADS, 0, _WIDTH), dtype=np.float32)
        caches = dict.fromkeys(self._caches, empty)
        tokens: list[int] = []
        probabilities: list[float] = []
        token = _START
        for step in range(max(8, int(len(pcm) / _RATE * _TOKENS_PER_SECOND) + 1)):
            logits, *present = self._decoder.run(
                None,
                {
                    "encoder_attention_mask": mask,
                    "input_ids": np.array([[token]], dtype=np.int64),
                    "encoder_hidden_states": states,
                    "use_cache_branch": np.array([step > 0]),
                    **caches,
                },
            )
            for name, value in zip(self._caches, present, strict=True):
                # What comes from the audio is computed in the first step only.
                if step == 0 or ".decoder." in name:
                    caches[name] = value
            scores = logits[0, -1]
            token = int(scores.argmax())
            if token == _END:
                break
            tokens.append(token)
            probabilities.append(float(1.0 / np.exp(scores - scores.max()).sum()))
        return tokens, probabilities

    def _text(self, tokens: list[int]) -> str:
        raw = b"".join(self._tokens[token] for token in tokens)
        # A byte outside the vocabulary is spelled as <0xNN>.
        raw = re.sub(rb"<0x([0-9A-F]{2})>", lambda m: bytes([int(m[1], 16)]), raw)
        return raw.decode("utf-8", "replace").replace("\u2581", " ").strip()
