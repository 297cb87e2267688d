"""The wire protocols of Baseten's speech-to-text deployments, without I/O."""

from __future__ import annotations

from .base import Alive, Defaults, Heard, Lost, SpeechProtocol, Transcript, Word
from .qwen3_asr import Qwen3ASRProtocol
from .whisper import WhisperProtocol

__all__ = [
    "PROTOCOLS",
    "Alive",
    "Defaults",
    "Heard",
    "Lost",
    "SpeechProtocol",
    "Transcript",
    "Word",
]

PROTOCOLS: dict[str, type[SpeechProtocol]] = {
    "whisper": WhisperProtocol,
    "qwen3-asr": Qwen3ASRProtocol,
}
"""Each model name and the protocol that it stands for."""
