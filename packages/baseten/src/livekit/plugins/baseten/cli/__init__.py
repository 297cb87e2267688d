"""The command line. Only ``python -m livekit.plugins.baseten`` loads it."""

from .command import main

__all__ = ["main"]
