"""What there is to load before the first request, in words for a progress bar."""

from __future__ import annotations

from collections.abc import Callable

from .pool import EnginePool

__all__ = ["parts"]


def parts(engines: EnginePool) -> list[tuple[str, Callable[[], object]]]:
    """The steps of loading: what is loaded, and the blocking call that does it."""
    return [
        ("speech to text", engines.transcriber.load),
        ("text to speech", engines.synthesizer.load),
        ("voice activity detection", engines.new_detector),
    ]
