"""Audio as it comes in: kept for sending, counted for billing, dated by the wall clock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from livekit import rtc
from livekit.agents import stt
from livekit.agents.utils import aio
from livekit.agents.utils.aio.channel import ChanClosed, ChanEmpty

from .replay import Replay
from .timeline import WallClock

__all__ = ["Intake"]

_USAGE = 5.0  # seconds of audio between reports
_WAKE: Any = None  # put among the audio to make the reader look
_FLUSH = stt.RecognizeStream._FlushSentinel()


class Intake:
    """Takes a stream's frames and flushes out of its channel.

    Attributes:
        replay: The audio that no final covers yet.
        wall: When each part of it was heard.
        last: When audio last came in, by the monotonic clock.
    """

    def __init__(
        self, channel: aio.Chan[Any], *, sample_rate: int, report: Callable[[float], None]
    ) -> None:
        """Take nothing yet.

        Args:
            channel: Frames of mono audio at that rate; anything else in it ends a segment.
            sample_rate: Hz.
            report: Takes the seconds of audio since the last report.
        """
        self.replay = Replay()
        self.wall = WallClock(sample_rate)
        self.last = time.monotonic()
        self._channel = channel
        self._rate = sample_rate
        self._report = report
        self._unreported = 0
        self._flushed = False

    @property
    def exhausted(self) -> bool:
        """Whether the end has come and finals cover all there was."""
        return self._over and self.replay.end <= self.replay.covered

    @property
    def _over(self) -> bool:
        return self._channel.closed and self._channel.empty()

    async def take(self) -> bool:
        """Wait for audio and take all there is; False at the end."""
        try:
            self._take(await self._channel.recv())
            while True:
                self._take(self._channel.recv_nowait())
        except ChanEmpty:
            return True
        except ChanClosed:
            return False

    def _take(self, item: object) -> None:
        if isinstance(item, rtc.AudioFrame):
            self.replay.append(item.data)
            self.wall.heard(self.replay.end)
            self.last = time.monotonic()
            self._flushed = False
            self._unreported += item.samples_per_channel
            if self._unreported >= _USAGE * self._rate:
                self._report_usage()
        elif item is not _WAKE and not self._over:
            # The one before the end of input is left out: the end ends the segment too.
            self.replay.mark()

    def wake(self) -> None:
        """Make :meth:`take` return."""
        with contextlib.suppress(ChanClosed):
            self._channel.send_nowait(_WAKE)

    def flush(self) -> None:
        """End the segment here, once until there is more audio."""
        if not self._flushed:
            self._flushed = True
            with contextlib.suppress(ChanClosed):
                self._channel.send_nowait(_FLUSH)

    def finish(self) -> None:
        """Count what was never taken, and report the rest."""
        with contextlib.suppress(ChanEmpty, ChanClosed):
            while True:
                item = self._channel.recv_nowait()
                if isinstance(item, rtc.AudioFrame):
                    self._unreported += item.samples_per_channel
        self._report_usage()

    def _report_usage(self) -> None:
        seconds, self._unreported = self._unreported / self._rate, 0
        if seconds:
            self._report(seconds)
