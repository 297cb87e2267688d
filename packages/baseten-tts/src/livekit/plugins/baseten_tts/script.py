from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from .words import speakable

__all__ = ["Script"]


class Script:
    """The text of one utterance as it comes in, which can be read from the start again.

    A connection that dies on first use is replaced, and the text that it got is sent once more.
    """

    def __init__(self, text: str | None = None) -> None:
        """Start empty, or with the whole text."""
        self._parts: list[str] = []
        self._ended = False
        self._changed = asyncio.Event()
        if text is not None:
            self.add(text)
            self.end()

    def add(self, text: str) -> None:
        """More text."""
        self._parts.append(text)
        self._changed.set()

    def end(self) -> None:
        """That there is no more text."""
        self._ended = True
        self._changed.set()

    @property
    def blank(self) -> bool:
        """Whether no text but white space has come."""
        return not any(part.strip() for part in self._parts)

    async def speakable(self) -> bool:
        """Wait until there is something to say; False when the text ends without."""
        checked = 0
        while True:
            for part in self._parts[checked:]:
                checked += 1
                if speakable(part):
                    return True
            if self._ended:
                return False
            self._changed.clear()
            await self._changed.wait()

    async def parts(self) -> AsyncIterator[str]:
        """The pieces from the first on, waiting for more until the end."""
        read = 0
        changed = self._changed
        while True:
            while read < len(self._parts):
                read += 1
                yield self._parts[read - 1]
            if self._ended:
                return
            changed.clear()
            await changed.wait()
