"""The audio that no final covers yet, so that a broken connection costs no word."""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["Replay"]

_TRIM = 16000  # samples; the front is cut off in pieces of a second, not at each frame


class Replay:
    """16-bit mono audio by position: samples since the start of the stream.

    What lies before :attr:`covered` may be forgotten at any time. Segment ends that the caller asked
    for (flushes) are kept by position too, so that they happen again when the audio is sent again.
    """

    def __init__(self) -> None:
        """Start empty, at position 0."""
        self._pcm = bytearray()
        self._start = 0
        self._covered = 0
        self._marks: list[int] = []

    @property
    def end(self) -> int:
        """Position after the newest sample."""
        return self._start + len(self._pcm) // 2

    @property
    def covered(self) -> int:
        """Position up to which nothing needs to be sent again."""
        return self._covered

    def append(self, pcm: bytes | memoryview) -> None:
        """Add audio at the end."""
        self._pcm += pcm

    def mark(self) -> None:
        """Note that a segment ends here."""
        if self.end > max(self._covered, self._marks[-1] if self._marks else 0):
            self._marks.append(self.end)

    def unmark(self) -> None:
        """Take back a mark at the very end."""
        if self._marks and self._marks[-1] == self.end:
            self._marks.pop()

    def next_mark(self, after: int) -> int | None:
        """Position of the first mark beyond one."""
        index = bisect_right(self._marks, after)
        return self._marks[index] if index < len(self._marks) else None

    def read(self, position: int, samples: int) -> bytes:
        """Audio from a position on; shorter at the end."""
        at = 2 * (max(position, self._start) - self._start)
        with memoryview(self._pcm) as view:
            return bytes(view[at : at + 2 * samples])

    def cover(self, position: int) -> None:
        """Say that nothing before a position is needed any more. Going back has no effect."""
        self._covered = max(self._covered, min(position, self.end))
        del self._marks[: bisect_right(self._marks, self._covered)]
        if self._covered - self._start >= _TRIM:
            del self._pcm[: 2 * (self._covered - self._start)]
            self._start = self._covered
