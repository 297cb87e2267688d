"""Clocks: from a connection's time to the stream's, and from there to the wall's."""

from __future__ import annotations

import time
from bisect import bisect_right

__all__ = ["DRIFT", "Timeline", "WallClock"]

DRIFT = 0.25  # seconds; less is jitter of frames


class Timeline:
    """Where a connection's time lies in the stream.

    A connection starts somewhere in the stream's audio, and silence that the caller never spoke may
    be put in. The server counts both from 0.
    """

    __slots__ = ("_gaps", "_inserted", "_rate", "_start")

    def __init__(self, *, start: int, sample_rate: int) -> None:
        """Begin at a position of the stream, in samples."""
        self._start = start
        self._rate = sample_rate
        self._gaps: list[int] = []  # where silence begins, in samples of the connection
        self._inserted: list[int] = [0]  # silence up to and with that gap

    def insert(self, position: int, samples: int) -> None:
        """Note silence that went out and isn't the stream's.

        Args:
            position: The stream's position up to which audio had gone out.
            samples: How much silence.
        """
        if samples:
            inserted = self._inserted[-1]
            self._gaps.append(position - self._start + inserted)
            self._inserted.append(inserted + samples)

    def position(self, seconds: float) -> int:
        """The stream's position, in samples, at a time that the server reports."""
        at = round(seconds * self._rate)
        index = bisect_right(self._gaps, at)
        spoken = at - self._inserted[index]
        if index:  # within the silence, its start
            spoken = max(spoken, self._gaps[index - 1] - self._inserted[index - 1])
        return self._start + spoken

    def seconds(self, seconds: float) -> float:
        """Seconds into the stream at a time that the server reports."""
        if self._gaps:
            return self.position(seconds) / self._rate
        return self._start / self._rate + seconds


class WallClock:
    """When a position of the stream was heard, by the wall clock.

    Audio may pause, when a microphone is muted, or come faster than it was spoken, from a file.
    """

    def __init__(self, sample_rate: int) -> None:
        """Begin with no audio."""
        self._rate = sample_rate
        self._marks: list[tuple[int, float]] = []

    def heard(self, end: int) -> None:
        """Note that audio up to a position has just come in; each :data:`DRIFT` will do."""
        now = time.time()
        if self._marks:
            position, wall = self._marks[-1]
            if abs(wall + (end - position) / self._rate - now) < DRIFT:
                return
        self._marks.append((end, now))
        del self._marks[:-64]

    def at(self, position: int) -> float:
        """The wall clock's time at a position, in seconds since the epoch; not after now."""
        now = time.time()
        if not self._marks:
            return now
        # A mark is set a little after the pause that it is for.
        reach = position + 2 * round(DRIFT * self._rate)
        index = bisect_right(self._marks, (reach, float("inf"))) - 1
        known, wall = self._marks[max(index, 0)]
        return min(now, wall + (position - known) / self._rate)
