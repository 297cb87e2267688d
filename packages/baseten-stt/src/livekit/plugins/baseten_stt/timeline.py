"""Clocks: from a connection's time to the stream's, and from there to the wall's."""

from __future__ import annotations

import time
from bisect import bisect_right

__all__ = ["Timeline", "WallClock"]

_DRIFT = 0.25  # seconds; less is jitter of frames


class Timeline:
    """Where a connection's time lies in the stream.

    A connection starts somewhere in the stream's audio, and silence that the caller never spoke may
    be put in. The server counts both from 0.
    """

    def __init__(self, *, start: int, sample_rate: int) -> None:
        """Begin at a position of the stream, in samples."""
        self._start = start
        self._rate = sample_rate
        self._gaps: list[int] = []  # where silence begins, in samples of the connection
        self._inserted: list[int] = [0]  # silence up to and with that gap
        self._sent = 0

    def sent(self, samples: int) -> None:
        """Note audio of the stream that went out."""
        self._sent += samples

    def insert(self, samples: int) -> None:
        """Note silence that went out and isn't the stream's."""
        if samples:
            self._gaps.append(self._sent)
            self._inserted.append(self._inserted[-1] + samples)
            self._sent += samples

    def position(self, seconds: float) -> int:
        """The stream's position, in samples, at a time that the server reports."""
        at = round(seconds * self._rate)
        index = bisect_right(self._gaps, at)
        spoken = at - self._inserted[index]
        if index:  # within the silence, its start
            spoken = max(spoken, self._gaps[index - 1] - self._inserted[index - 1])
        return self._start + spoken


class WallClock:
    """When a position of the stream was heard, by the wall clock.

    Audio may pause, when a microphone is muted, or come faster than it was spoken, from a file.
    """

    def __init__(self, sample_rate: int) -> None:
        """Begin with no audio."""
        self._rate = sample_rate
        self._marks: list[tuple[int, float]] = []
        self._checked = -sample_rate

    def heard(self, end: int) -> None:
        """Note that audio up to a position has just come in."""
        if end - self._checked < self._rate * _DRIFT:
            return
        self._checked = end
        now = time.time()
        if self._marks:
            position, wall = self._marks[-1]
            if abs(wall + (end - position) / self._rate - now) < _DRIFT:
                return
        self._marks.append((end, now))
        del self._marks[:-64]

    def at(self, position: int) -> float:
        """The wall clock's time at a position, in seconds since the epoch; not after now."""
        now = time.time()
        if not self._marks:
            return now
        # A mark is set a little after the pause that it is for.
        reach = position + 2 * round(_DRIFT * self._rate)
        index = bisect_right(self._marks, (reach, float("inf"))) - 1
        known, wall = self._marks[max(index, 0)]
        return min(now, wall + (position - known) / self._rate)
