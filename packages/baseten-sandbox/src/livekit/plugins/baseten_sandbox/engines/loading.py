"""What there is to load before the first request, in words for a progress bar."""

from __future__ import annotations

from collections.abc import Callable

from .dialogue import ChatEngine
from .pool import EnginePool

__all__ = ["parts"]


def parts(engines: EnginePool, chat: ChatEngine | None) -> list[tuple[str, Callable[[], object]]]:
    """The steps of loading: what is loaded, and the blocking call that does it."""
    # Not every chat engine has something to load.
    load_chat = getattr(chat, "load", None)
    return [
        ("speech to text", engines.transcriber.load),
        ("text to speech", engines.synthesizer.load),
        ("voice activity detection", engines.new_detector),
        *([("language model", load_chat)] if load_chat else []),
    ]
