"""The audio that no final covers yet, so that a broken connection costs no word."""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["Replay"]

_BLOCK = 2048  # samples; what is kept is cut into these, and forgotten by them


class Replay:
    """16-bit mono audio by position: samples since the start of the stream.

    What lies before :attr:`covered` may be forgotten at any time. Segment ends that the caller asked
    for (flushes) are kept by position too, so that they happen again when the audio is sent again.

    Attributes:
        end: Position after the newest sample.
        covered: Position up to which nothing needs to be sent again.
    """

    # Hundreds of streams don't fit a processor's cache: what is used for each frame is kept small.
    __slots__ = ("_blocks", "_marks", "_start", "_stored", "_tail", "covered", "end")

    def __init__(self) -> None:
        """Start empty, at position 0."""
        self.end = 0
        self.covered = 0
        # One growing array would be given room ahead, an eighth of a minute of audio.
        self._blocks: list[bytes] = []
        self._start = 0  # position of the first block
        self._tail = b""
        self._stored = 0  # position of the tail
        self._marks: list[int] = []

    def append(self, pcm: bytes | memoryview) -> None:
        """Add audio at the end."""
        tail = self._tail + pcm
        self.end = self._stored + len(tail) // 2
        self._tail = tail if len(tail) < 2 * _BLOCK else self._store(tail)

    def _store(self, tail: bytes) -> bytes:
        whole = len(tail) // (2 * _BLOCK)
        for number in range(whole):
            self._blocks.append(tail[2 * _BLOCK * number : 2 * _BLOCK * (number + 1)])
        self._stored += whole * _BLOCK
        return tail[2 * _BLOCK * whole :]

    def mark(self) -> None:
        """Note that a segment ends here."""
        if self.end > max(self.covered, self._marks[-1] if self._marks else 0):
            self._marks.append(self.end)

    def unmark(self) -> None:
        """Take back a mark at the very end."""
        if self._marks and self._marks[-1] == self.end:
            self._marks.pop()

    def next_mark(self, after: int) -> int | None:
        """Position of the first mark beyond one."""
        if not self._marks:
            return None
        index = bisect_right(self._marks, after)
        return self._marks[index] if index < len(self._marks) else None

    def read(self, position: int, samples: int) -> bytes:
        """Audio from a position on; shorter at the end."""
        at = 2 * (position - self._stored)
        if at >= 0:
            return self._tail[at : at + 2 * samples]
        position = max(position, self._start)
        first, skip = divmod(position - self._start, _BLOCK)
        if skip + samples <= _BLOCK and first < len(self._blocks):
            return self._blocks[first][2 * skip : 2 * (skip + samples)]
        last = first + (skip + samples) // _BLOCK
        parts = self._blocks[first : last + 1]
        if last >= len(self._blocks):
            parts.append(self._tail)
        return b"".join(parts)[2 * skip : 2 * (skip + samples)]

    def cover(self, position: int) -> None:
        """Say that nothing before a position is needed any more. Going back has no effect."""
        self.covered = max(self.covered, min(position, self.end))
        if self._marks:
            del self._marks[: bisect_right(self._marks, self.covered)]
        done = min((self.covered - self._start) // _BLOCK, len(self._blocks))
        del self._blocks[:done]
        self._start += done * _BLOCK
