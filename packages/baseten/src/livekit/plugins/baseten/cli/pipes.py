"""What comes in from files, pipes and the command line, as it comes."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from codecs import getincrementaldecoder
from collections.abc import AsyncIterator, Sequence

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

    def read() -> None:
        descriptor = sys.stdin.fileno() if path == "-" else opened
        try:
            piece: bytes | OSError = b"-"
            while isinstance(piece, bytes) and piece:
                room.acquire()
                if left.is_set():
                    return
                try:
                    piece = os.read(descriptor, _PIECE)
                except OSError as e:
                    piece = e
                loop.call_soon_threadsafe(queue.put_nowait, piece)
        except RuntimeError:
            return  # the loop has ended
        finally:
            if path != "-":
                os.close(descriptor)

    left = threading.Event()
    # Opening a named pipe waits for its other end, which Ctrl-C may end.
    opened = -1 if path == "-" else os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    # Not the loop's executor: a read that never returns would hold up its end.
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
