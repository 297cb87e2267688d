"""One connection: audio out at the right pace, messages in, and whether it is still alive."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from livekit.agents import APIError, APITimeoutError
from livekit.plugins.baseten_common import Closed, WebSocket, errors

from .protocols import Heard, SpeechProtocol, Transcript
from .protocols.transcription import WHAT
from .replay import Replay
from .timeline import Timeline

__all__ = ["Link"]

_UNTIMED = 1.0  # seconds before the last audio sent that a final without times leaves open
_GRACE = 1.0  # seconds
_BURST = 1.5  # seconds of audio that may go out at once, live jitter and a flush included


class Link:
    """An open WebSocket with a protocol on it, and how far into the stream it has got.

    Attributes:
        cursor: The stream's position up to which audio was sent.
        timeline: Where the server's times lie in the stream.
        heard: Whether the server has said anything, and so accepted the configuration.
        opened: When it was dialled, by the monotonic clock.
    """

    __slots__ = (
        "_answer_timeout",
        "_asked",
        "_check_interval",
        "_checked",
        "_commits",
        "_credit",
        "_flushed",
        "_frame",
        "_max_credit",
        "_paced",
        "_rate",
        "_replay",
        "cursor",
        "heard",
        "opened",
        "protocol",
        "timeline",
        "ws",
    )

    def __init__(
        self,
        ws: WebSocket,
        protocol: SpeechProtocol,
        replay: Replay,
        *,
        start: int,
        opened: float,
        speed: float | None,
        answer_timeout: float,
        check_interval: float,
    ) -> None:
        """Take a WebSocket that nothing was sent on.

        Args:
            ws: The WebSocket.
            protocol: A fresh protocol.
            replay: The stream's audio.
            start: The position to send from.
            opened: When the WebSocket was dialled, by the monotonic clock.
            speed: How much faster than real time audio may go out; None for no limit.
            answer_timeout: Seconds within which an answer that is due must come.
            check_interval: Seconds between health checks, and that each may take.
        """
        self.ws = ws
        self.protocol = protocol
        self.cursor = start
        self.timeline = Timeline(start=start, sample_rate=protocol.sample_rate)
        self.heard = False
        self.opened = opened
        self._replay = replay
        self._frame = protocol.frame_samples
        self._flushed = start
        self._commits: deque[int] = deque()
        self._answer_timeout = answer_timeout
        self._check_interval = check_interval
        now = time.monotonic()
        self._asked = now
        self._checked = now
        self._rate = None if speed is None else speed * protocol.sample_rate
        self._credit = _BURST * protocol.sample_rate
        self._max_credit = self._credit
        self._paced = now

    async def open(self) -> None:
        """Configure it."""
        for message in self.protocol.opening():
            await self.ws.send(message)

    async def catch_up(self) -> None:
        """Send all audio there is in whole frames, and end segments where they are marked."""
        samples, replay = self._frame, self._replay
        while True:
            mark = replay.next_mark(self._flushed)
            end = replay.end if mark is None else mark
            while end - self.cursor >= samples:
                frame = self.protocol.frame(replay.read(self.cursor, samples))
                self.cursor += samples
                if (delay := self._delay(samples)) > 0:
                    await asyncio.sleep(delay)
                await self.ws.send(frame)
            if mark is None:
                if replay.next_mark(self._flushed) is None:
                    return
                continue  # it came while audio went out
            await self._send_rest(mark)
            silence = self.protocol.flush_silence()
            self.timeline.insert(self.cursor, silence * samples)
            self._flushed = mark
            for _ in range(silence):
                await asyncio.sleep(max(0.0, self._delay(samples)))
                await self.ws.send(self.protocol.frame(bytes(2 * samples)))
            await self._ask(self.protocol.flush(), mark)

    def keep_up(self) -> int | None:
        """Send what there is in whole frames, if that takes no waiting at all.

        Returns:
            The position of audio from which there is more to send; None when it is up to
            :meth:`catch_up`.
        """
        samples, ws, replay = self._frame, self.ws, self._replay
        if replay.next_mark(self._flushed) is not None:
            return None
        due = (replay.end - self.cursor) // samples
        if self._delay(due * samples) > 0:
            self._credit += due * samples
            return None
        try:
            while due and ws.send_nowait(self.protocol.frame(replay.read(self.cursor, samples))):
                self.cursor += samples
                due -= 1
        except APIError:
            return None  # catch_up() meets it too
        self._credit += due * samples
        return None if due else self.cursor + samples

    async def end(self) -> None:
        """Send the rest of the audio and say that it was all."""
        await self.catch_up()
        await self._send_rest(self._replay.end)
        await self._ask(self.protocol.end(), self._replay.end)

    async def _ask(self, messages: list[str], covers: int) -> None:
        if messages:
            self._commits.append(covers)
            self._asked = time.monotonic()
        for message in messages:
            await self.ws.send(message)

    async def _send_rest(self, end: int) -> None:
        rest = end - self.cursor
        if rest <= 0:
            return
        pcm = self._replay.read(self.cursor, rest)
        padding = self.protocol.frame_samples - rest if self.protocol.whole_frames else 0
        self.cursor = end
        self.timeline.insert(end, padding)
        await asyncio.sleep(max(0.0, self._delay(rest + padding)))
        await self.ws.send(self.protocol.frame(pcm + bytes(2 * padding)))

    def _delay(self, samples: int) -> float:
        """Seconds to wait before audio goes out, which is taken for sent."""
        if self._rate is None:
            return 0.0
        now = time.monotonic()
        self._credit = min(self._max_credit, self._credit + (now - self._paced) * self._rate)
        self._credit -= samples
        self._paced = now
        return -self._credit / self._rate

    async def listen(self, until: float) -> list[Heard] | None:
        """What the next message says; None when the connection ended or nothing came in time.

        Args:
            until: The end of that time, by the monotonic clock.

        Raises:
            APIError: as the protocol has it.
        """
        left = until - time.monotonic()
        # What is there already is read after that time too, but not for ever.
        if left < -_GRACE:
            return None
        try:
            message = await self.ws.receive(timeout=max(0.0, left))
        except APITimeoutError:
            return None
        return None if isinstance(message, Closed) else self.read(message)

    def read(self, message: str | bytes) -> list[Heard]:
        """What a message says.

        Raises:
            APIError: as the protocol has it.
        """
        heard = self.protocol.receive(message)
        self.heard = True
        # One without words, over and over, is no progress.
        if any(isinstance(result, Transcript) and result.text for result in heard):
            self._asked = time.monotonic()
        return heard

    @property
    def unanswered(self) -> int:
        """How many flushes, the end among them, wait for their final."""
        return len(self._commits)

    def covered_by(self, final: Transcript) -> int:
        """The position up to which a final covers the audio."""
        if final.flushed:
            position = self._commits.popleft() if self._commits else self.cursor
        elif final.end is not None:
            position = self.timeline.position(final.end)
        else:
            position = 0
        if position <= self._replay.covered and final.text:
            # The server gives no times, or not the connection's.
            position = self.cursor - round(_UNTIMED * self.protocol.sample_rate)
        return min(position, self.cursor)

    def check(self, now: float) -> None:
        """See to it that the server is alive.

        Args:
            now: The monotonic clock.

        Raises:
            APIError: it isn't.
        """
        if self.protocol.due and now - self._asked > self._answer_timeout:
            missing = (self.cursor - self._replay.covered) / self.protocol.sample_rate
            raise errors.timed_out(
                f"{WHAT}: the transcript of the last {missing:.1f} s of audio is missing",
                self._answer_timeout,
            )
        if now - self._checked < self._check_interval:
            return
        if self.protocol.checking:
            raise errors.timed_out(
                f"{WHAT}: the connection is open but the server is gone", self._check_interval
            )
        if not self.ws.idle:
            return  # what waits in the buffer goes first; if it never goes, the heartbeat tells
        message = self.protocol.health_check()
        self._checked = now
        if message:
            self.ws.send_nowait(message)
