"""Audio as it comes in: kept for sending, counted for billing, dated by the wall clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from livekit import rtc
from livekit.agents.utils.aio.channel import ChanClosed

from .replay import Replay
from .timeline import DRIFT, WallClock

__all__ = ["Intake"]

_USAGE = 5.0  # seconds of audio between reports


class Intake:
    """Stands in the place of the framework's channel of frames and flushes.

    What is pushed is kept at once, whether or not there is a connection. A sender that has nothing
    left to send leaves whole frames to be sent from here: to be woken for each costs more than all
    the rest.

    Attributes:
        replay: The audio that no final covers yet.
        wall: When each part of it was heard.
        last: When audio last came in, by the monotonic clock.
        closed: Whether the end has come.
    """

    __slots__ = (
        "_due",
        "_flushed",
        "_keep_up",
        "_rate",
        "_report",
        "_reported",
        "_until",
        "_waiter",
        "closed",
        "last",
        "replay",
        "wall",
    )

    def __init__(self, *, sample_rate: int, report: Callable[[float], None]) -> None:
        """Begin with nothing.

        Args:
            sample_rate: Of the frames, in Hz.
            report: Takes the seconds of audio since the last report.
        """
        self.replay = Replay()
        self.wall = WallClock(sample_rate)
        self.last = time.monotonic()
        self.closed = False
        self._rate = sample_rate
        self._report = report
        self._reported = 0
        self._due = 0  # position from which the books are kept again
        self._flushed = False
        self._waiter: asyncio.Future[None] | None = None
        self._keep_up: Callable[[], int | None] | None = None
        self._until = 0

    @property
    def exhausted(self) -> bool:
        """Whether the end has come and finals cover all there was."""
        return self.closed and self.replay.end <= self.replay.covered

    def send_nowait(self, item: object) -> None:
        """Take a frame of mono audio; anything else ends the segment here.

        Raises:
            ChanClosed: after :meth:`close`.
        """
        if self.closed:
            raise ChanClosed
        if not isinstance(item, rtc.AudioFrame):
            self.replay.mark()
            self.wake()
            return
        replay = self.replay
        replay.append(item.data)
        end = replay.end
        self.last = time.monotonic()
        self._flushed = False
        if end >= self._due:
            self._due = end + round(DRIFT * self._rate)
            self.wall.heard(end)
            if end - self._reported >= _USAGE * self._rate:
                self.report_usage()
        if end >= self._until and self._keep_up is not None:
            until = self._keep_up()
            if until is None:
                self.wake()
            else:
                self._until = until

    def close(self) -> None:
        """Take no more."""
        self.closed = True
        self.replay.unmark()  # the end ends the segment too
        self.wake()

    async def wait(self, until: int, keep_up: Callable[[], int | None]) -> None:
        """Wait for a flush, the end, :meth:`wake`, or audio that can't be sent at once.

        Args:
            until: The position of audio from which there is something to send.
            keep_up: Called then. It sends without waiting and gives the next such position, or
                None to end the wait.
        """
        if self.closed or self.replay.end >= until:
            return
        self._until = until
        self._keep_up = keep_up
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = self._keep_up = None

    def wake(self) -> None:
        """Make :meth:`wait` return."""
        self._keep_up = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def flush(self) -> None:
        """End the segment here, once until there is more audio."""
        if not self._flushed and not self.closed:
            self._flushed = True
            self.replay.mark()
            self.wake()

    def report_usage(self) -> None:
        """Report the audio since the last report."""
        end = self.replay.end
        seconds, self._reported = (end - self._reported) / self._rate, end
        if seconds:
            self._report(seconds)
