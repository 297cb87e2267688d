from __future__ import annotations

from typing import Literal

__all__ = ["TTSModels", "Transports"]

TTSModels = Literal["orpheus", "qwen3-tts", "generic"]
"""The protocol that a deployment speaks: ``orpheus`` (HTTP and WebSocket), ``qwen3-tts``
(WebSocket), ``generic`` (any model that answers a POST with audio)."""

Transports = Literal["http", "websocket"]
"""How a deployment named by its id is called. A full URL says it by its scheme."""
