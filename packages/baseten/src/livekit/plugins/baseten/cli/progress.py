"""What is being done, for someone who waits."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from typing import TextIO

__all__ = ["Progress", "can_show"]

_WIDTH = 20
_TICK = 0.1


def can_show(stream: TextIO, text: str) -> bool:
    """Whether a stream's encoding holds some characters."""
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class Progress:
    """A bar on a terminal, which goes away; elsewhere a line for each step."""

    def __init__(self, total: int, *, stream: TextIO, quiet: bool = False) -> None:
        """Show nothing yet.

        Args:
            total: Number of steps.
            stream: Where to write.
            quiet: Write nothing.
        """
        self._total = total
        self._done = 0
        self._stream = stream
        self._quiet = quiet
        self._live = stream.isatty()
        self._doing = ""
        self._full, self._empty = "█░" if can_show(stream, "█░") else "#-"

    def step(self, doing: str) -> None:
        """Say what is being done now."""
        if self._live:
            self._draw(self._done / self._total, doing)
        self._doing = doing

    def done(self, part: str, name: str, status: str, *, steps: int = 1) -> None:
        """Say how a step came out, or several of which it stands for all."""
        self._done = min(self._done + steps, self._total)
        if not self._live:
            self._write(f"[{self._done}/{self._total}] {part}: {name}: {status}\n")

    @contextlib.asynccontextmanager
    async def waking(self, budget: float) -> AsyncIterator[None]:
        """Show how much of the time for a model to wake has passed.

        Args:
            budget: Seconds to wait at most.
        """
        ticking = asyncio.create_task(self._tick(budget), name="baseten.doctor.waking")
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])

    async def _tick(self, budget: float) -> None:
        began = time.monotonic()
        part = self._doing.partition(":")[0]
        if not self._live:
            self._write(f"{part}: asleep or starting, waking it for at most {budget:.0f} s\n")
            return
        while True:
            waited = time.monotonic() - began
            self._draw(
                min(waited / budget, 1.0),
                f"{part}: waking the model, {waited:.0f} s of at most {budget:.0f} s",
            )
            await asyncio.sleep(_TICK)

    def finish(self) -> None:
        """Take the bar away."""
        if self._live:
            self._write("\r\x1b[K")

    def _draw(self, part: float, text: str) -> None:
        filled = round(_WIDTH * part)
        bar = self._full * filled + self._empty * (_WIDTH - filled)
        # A line that wraps couldn't be taken back.
        room = shutil.get_terminal_size((80, 24)).columns - 1
        self._write("\r\x1b[K" + f"{bar} {text}"[:room])

    def _write(self, text: str) -> None:
        if not self._quiet:
            self._stream.write(text)
            self._stream.flush()
