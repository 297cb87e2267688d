"""What comes in from files, pipes and the command line, as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from codecs import getincrementaldecoder
from collections.abc import AsyncIterator, Iterator, Sequence

__all__ = ["content", "text", "whole_text"]

_PIECE = 64 * 2**10
_AHEAD = 16  # pieces that may wait


async def content(path: str) -> AsyncIterator[bytes]:
    """A file, piece by piece.

    Args:
        path: Its name; ``-`` for standard input.

    Raises:
        OSError: it can't be read.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)

    left = threading.Event()

    def read() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            try:
                for piece in _pieces(path):
                    room.acquire()
                    if left.is_set():
                        return
                    loop.call_soon_threadsafe(queue.put_nowait, piece)
                loop.call_soon_threadsafe(queue.put_nowait, b"")
            except OSError as e:
                loop.call_soon_threadsafe(queue.put_nowait, e)

    # A thread that the loop doesn't wait for: opening or reading a pipe may take for ever.
    threading.Thread(target=read, name="baseten-read", daemon=True).start()
    try:
        while piece := await queue.get():
            if isinstance(piece, OSError):
                raise piece
            room.release()
            yield piece
    finally:
        left.set()
        room.release()


def _pieces(path: str) -> Iterator[bytes]:
    if path == "-":
        while piece := os.read(sys.stdin.fileno(), _PIECE):
            yield piece
        return
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            yield piece


async def text(words: Sequence[str]) -> AsyncIterator[str]:
    """A text, in the pieces in which it comes.

    Args:
        words: The words on the command line; none, or ``-``, for standard input.

    Raises:
        ValueError: there is none, and nobody is going to type any.
        OSError: standard input can't be read.
    """
    if words and list(words) != ["-"]:
        yield " ".join(words)
        return
    if not words and sys.stdin.isatty():
        raise ValueError("there is no text: give it as an argument, or on standard input")
    decoder = getincrementaldecoder("utf-8")("replace")
    async for piece in content("-"):
        if decoded := decoder.decode(piece):
            yield decoded


async def whole_text(words: Sequence[str]) -> str:
    """All of a text; see :func:`text`.

    Raises:
        ValueError: there is none.
    """
    joined = "".join([piece async for piece in text(words)]).strip()
    if not joined:
        raise ValueError("the text is empty")
    return joined
