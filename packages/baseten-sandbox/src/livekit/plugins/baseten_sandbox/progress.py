"""A progress bar for the terminal."""

from __future__ import annotations

import sys
from typing import TextIO

__all__ = ["ProgressBar"]

_WIDTH = 24


class ProgressBar:
    """Shows how much of a few steps is done; on anything but a terminal, one line a step.

    Args:
        total: Number of steps.
        stream: Where to write; standard error when ``None``.
    """

    def __init__(self, total: int, *, stream: TextIO | None = None) -> None:
        self._total = total
        self._done = 0
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()

    def step(self, doing: str) -> None:
        """Say what is being done now."""
        if self._live:
            filled = _WIDTH * self._done // self._total
            bar = "█" * filled + "░" * (_WIDTH - filled)
            self._stream.write(f"\r\x1b[K{bar} {doing}")
        else:
            self._stream.write(f"[{self._done + 1}/{self._total}] {doing}\n")
        self._stream.flush()
        self._done += 1

    def finish(self) -> None:
        """Clear the bar."""
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
