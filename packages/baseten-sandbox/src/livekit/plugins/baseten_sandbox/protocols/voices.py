"""The voices of one Qwen3-TTS deployment: its own, and those that clients upload."""

from __future__ import annotations

import base64
import binascii
import time
from typing import Any

__all__ = ["VoiceShelf"]

_MIME_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "aac": "audio/aac",
    "webm": "audio/webm",
    "mp4": "audio/mp4",
}
_MAX_AUDIO = 10 * 1024 * 1024


class VoiceShelf:
    """Holds voices in memory: like those of a replica, they are gone after a restart.

    Args:
        voices: The voices that come with the model.
    """

    def __init__(self, voices: tuple[str, ...]) -> None:
        self._own = {voice.lower() for voice in voices}
        self._uploaded: dict[str, dict[str, Any]] = {}

    def knows(self, name: str) -> bool:
        """Whether there is such a voice; case doesn't matter."""
        return name.lower() in self._own or name.lower() in self._uploaded

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Answer a ``voice.list``, ``voice.add`` or ``voice.remove``."""
        kind = message["type"]
        if kind == "voice.list":
            return {
                "type": "voice.list.result",
                "voices": sorted(self._own | set(self._uploaded)),
                "uploaded_voices": list(self._uploaded.values()),
            }
        return self._add(message) if kind == "voice.add" else self._remove(message)

    def _add(self, message: dict[str, Any]) -> dict[str, Any]:
        name, consent = message.get("name"), message.get("consent")
        for key, value in (("name", name), ("consent", consent)):
            if not isinstance(value, str) or not value:
                return _error(f"voice.add requires a '{key}' string")
        audio, embedding = message.get("audio_data"), message.get("speaker_embedding")
        if audio is not None and embedding is not None:
            return _error("voice.add: 'audio_data' and 'speaker_embedding' are mutually exclusive")
        if audio is None and embedding is None:
            return _error("voice.add requires either 'audio_data' (base64) or 'speaker_embedding'")
        voice: dict[str, Any] = {
            "name": name,
            "consent": consent,
            "created_at": int(time.time()),
            "file_size": 0,
            "mime_type": "",
            "embedding_source": "direct" if embedding is not None else "audio",
            "embedding_dim": len(embedding) if isinstance(embedding, list) else None,
        }
        if audio is not None:
            try:
                data = base64.b64decode(audio, validate=True)
            except (TypeError, ValueError, binascii.Error):
                return _failed("Failed to add voice: audio_data is not base64")
            if len(data) > _MAX_AUDIO:
                return _failed("File size exceeds maximum limit of 10MB")
            format_ = message.get("audio_format", "wav")
            voice["file_size"] = len(data)
            voice["mime_type"] = _MIME_TYPES.get(format_, "application/octet-stream")
        for key in ("ref_text", "speaker_description"):
            if message.get(key):
                voice[key] = message[key]
        assert isinstance(name, str)
        self._uploaded[name.lower()] = voice
        return {"type": "voice.add.result", "success": True, "voice": voice}

    def _remove(self, message: dict[str, Any]) -> dict[str, Any]:
        name = message.get("name")
        if not isinstance(name, str) or not name:
            return _error("voice.remove requires a 'name' string")
        removed = self._uploaded.pop(name.lower(), None) is not None
        result: dict[str, Any] = {"type": "voice.remove.result", "success": removed, "name": name}
        if not removed:
            result["error"] = f"Voice '{name}' not found"
        return result


def _error(message: str) -> dict[str, Any]:
    return {"type": "error", "message": message}


def _failed(message: str) -> dict[str, Any]:
    return {"type": "voice.add.result", "success": False, "error": message}
