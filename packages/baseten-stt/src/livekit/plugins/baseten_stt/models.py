from __future__ import annotations

from typing import Literal

__all__ = ["MetadataFormat", "STTEncoding", "STTModels"]

STTModels = Literal["whisper", "qwen3-asr"]
"""The wire protocol that a deployment speaks: Baseten's streaming Whisper or Qwen3-ASR, both v1."""

STTEncoding = Literal["pcm_s16le", "pcm_mulaw"]
"""How audio is coded on the wire: 16-bit PCM, or G.711 µ-law."""

MetadataFormat = Literal["current", "legacy", "oldest"]
"""The names in Whisper's first message. ``legacy`` says ``vad_params`` for
``streaming_vad_config``; ``oldest`` puts all else into ``streaming_whisper_params``. Deployments
keep the runtime that they were deployed with, so the older names are still in use."""
