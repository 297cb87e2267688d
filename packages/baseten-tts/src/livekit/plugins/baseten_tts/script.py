from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from livekit.plugins.baseten_common import timeout as deadline

from .words import encodable, speakable

__all__ = ["Script"]


class Script:
    """The text of one utterance as it comes in, which can be read from the start again.

    A connection that dies on first use is replaced, and the text that it got is sent once more.

    Attributes:
        ended: Whether there is no more text.
        speakable: Whether there is anything to say.
        blank: Whether no text but white space has come.
    """

    def __init__(self, text: str | None = None) -> None:
        """Start empty, or with the whole text."""
        self.ended = False
        self.speakable = False
        self.blank = True
        self._parts: list[str] = []
        self._changed = asyncio.Event()
        if text is not None:
            self.add(text)
            self.end()

    def add(self, text: str) -> None:
        """More text."""
        self.blank = self.blank and not text.strip()
        text = encodable(text)
        self._parts.append(text)
        self.speakable = self.speakable or speakable(text)
        self._changed.set()

    def end(self) -> None:
        """That there is no more text."""
        self.ended = True
        self._changed.set()

    def after(self, read: int) -> list[str]:
        """The pieces that have come, without so many of the first."""
        return self._parts[read:]

    async def more(self, read: int, *, timeout: float | None = None) -> bool:
        """Wait for more than so many pieces, or for the end; False if it takes too long."""
        with contextlib.suppress(asyncio.TimeoutError):
            async with deadline(timeout):
                while not self.ended and len(self._parts) <= read:
                    self._changed.clear()
                    await self._changed.wait()
            return True
        return False

    async def parts(self) -> AsyncIterator[str]:
        """What has come from the first piece on, together, and then what comes, until the end."""
        read = 0
        while True:
            if pieces := self.after(read):
                read += len(pieces)
                yield "".join(pieces)
            elif self.ended:
                return
            else:
                await self.more(read)
