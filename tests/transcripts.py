"""Comparing what was said with what was heard."""

from __future__ import annotations

import re
from pathlib import Path

import jiwer
import numpy as np
from numpy.typing import NDArray

from livekit.plugins.baseten_sandbox.engines import Transcriber
from livekit.plugins.baseten_sandbox.engines.spoken import in_words

__all__ = ["error_rate", "heard_by", "said_in"]

_SPEECH = Path(__file__).parent / "speech"
_SHORT = {"mr": "mister", "mrs": "missus", "dr": "doctor", "ok": "okay"}


def said_in(clip: Path) -> str:
    """The words of a clip, from the table beside it."""
    for line in (_SPEECH / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if clip.name in cells:
            return cells[cells.index(clip.name) + 1]
    raise ValueError(f"nobody wrote down what {clip.name} says")


def _words(text: str) -> str:
    text = re.sub(r"(\d+):(\d+)", r"\1 \2", text.lower()).replace("-", " ")
    text = re.sub(r"\d+", lambda number: f" {in_words(int(number[0]))} ", text)
    words = re.findall(r"[a-z']+", text)
    return " ".join(_SHORT.get(word, word) for word in words)


def error_rate(said: str, heard: str) -> float:
    """The word error rate, 0 to 1 or more; case, punctuation and digits don't count."""
    return float(jiwer.wer(_words(said), _words(heard)))


def heard_by(transcriber: Transcriber, pcm: NDArray[np.int16], rate: int) -> str:
    """What an engine hears in a recording."""
    at = np.arange(0, len(pcm) - 1, rate / 16000)
    samples = np.interp(at, np.arange(len(pcm)), pcm / 32768.0).astype(np.float32)
    return transcriber.transcribe(samples, language="en", word_times=False).text
