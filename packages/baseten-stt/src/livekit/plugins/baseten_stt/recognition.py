"""A stream's connections: one after another, each beginning where the finals of the last end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from livekit import rtc
from livekit.agents import APIError, APIStatusError, APITimeoutError, stt
from livekit.agents.utils import aio
from livekit.agents.utils.aio.channel import ChanClosed, ChanEmpty
from livekit.plugins.baseten_common import Closed, errors

from .audio import peak
from .dialer import Connection, Dialer
from .link import Link
from .log import logger
from .options import STTOptions
from .protocols import PROTOCOLS, Heard, Lost, SpeechProtocol, Transcript
from .protocols.transcription import WHAT
from .replay import Replay
from .timeline import WallClock
from .turns import Turns

__all__ = ["Recognition"]

_TICK = 0.25  # seconds between looks at the clock
_USAGE = 5.0  # seconds of audio between usage events
_NO_AUDIO = 10.0  # seconds without any audio before a warning
_LOUD = 1000  # a peak that isn't silence, of 32768
_UNANSWERED = 20.0  # seconds of sound without an answer before a warning
_AUDIO_STOPPED = 1.0  # seconds without audio in mid-turn, after which the turn is ended
_LEAD = 0.3  # seconds of silence that a new connection hears before what is new
_DRAIN = 2.0  # seconds that the old connection has to say whether speech was under way
_UNTIMED = 1.0  # seconds before the last audio sent that a final without times leaves open
_RENEW_AGAIN = 5.0  # seconds until a failed hand-over is tried again
_WAKE: Any = None  # put among the audio to make the sender look


class Recognition:
    """Recognises one stream of audio over as many connections as it takes.

    It holds no reference to the stream object, so that a stream that is dropped can be freed.

    Attributes:
        offset: What is added to every time that is reported, in seconds.
        failures: Attempts in a row in which nothing was recognised and no connection held.
    """

    def __init__(
        self,
        *,
        options: STTOptions,
        dialer: Dialer,
        audio: aio.Chan[Any],
        emit: Callable[[stt.SpeechEvent], None],
        acquired: Callable[[float, bool], None],
        timeout: float,
    ) -> None:
        """Begin without a connection.

        Args:
            options: What to open connections with.
            dialer: Opens them.
            audio: Frames of mono audio at the protocol's rate; anything else in it ends a segment.
            emit: Takes the events.
            acquired: Takes the seconds that each connection took, and whether it was dialled ahead.
            timeout: Seconds for connecting, and for each answer that is due.
        """
        self.offset = 0.0
        self.failures = 0
        self._options = options
        self._dialer = dialer
        self._audio = audio
        self._emit = emit
        self._acquired = acquired
        self._timeout = timeout
        # A connection that held this long had a reason to fail of its own.
        self._steady = timeout + options.dead_link_timeout
        self._rate = self._new_protocol().sample_rate
        self._replay = Replay()
        self._wall = WallClock(self._rate)
        self._turns = Turns(
            language=options.language,
            interims=options.enable_partial_transcripts,
            preflight=options.preflight,
            wall=lambda seconds: self._wall.at(round(seconds * self._rate)),
        )
        self._link: Link | None = None
        self._sending = asyncio.Lock()
        self._ending = False
        self._next: asyncio.Task[Connection] | None = None
        self._renew_from: float | None = None
        self._unreported = 0
        self._rejections = 0
        self._lost_at = -1
        now = time.monotonic()
        self._started = self._last_audio = self._last_transcript = self._ticked = now
        self._forced = self._stopped = False
        self._looked = 0
        self._loud = 0.0
        self._warned: set[str] = set()
        self._sent: deque[tuple[float, int]] = deque()

    def _new_protocol(self) -> SpeechProtocol:
        return PROTOCOLS[self._options.model](self._options)

    def reconfigure(self, options: STTOptions) -> None:
        """Go on with other options, from the next pause in speech on."""
        if options == self._options:
            return
        self._options = options
        if self._link is not None and self._renew_from is None:
            self._renew_from = time.monotonic()

    @property
    def options(self) -> STTOptions:
        """The options of the next connection."""
        return self._options

    async def attempt(self) -> None:
        """Recognise until the end of the audio, over one connection and its planned successors.

        Raises:
            APIError: the connection failed. Calling this again goes on where the finals end.
        """
        if self._audio.closed and self._audio.empty() and self._replay.end <= self._replay.covered:
            return
        self.failures += 1
        began, covered = time.monotonic(), self._replay.covered
        connection = await self._dial()
        self._ending = False
        self._renew_from = None
        self._link = await self._open(connection, self._replay.covered)
        sender = asyncio.create_task(self._send(), name="baseten.stt.send")
        try:
            await self._receive(sender)
        finally:
            worked = self._link.heard and time.monotonic() - began > self._steady
            if worked or self._replay.covered > covered:
                self.failures = 0
            waiting = [task for task in (sender, self._next) if task is not None]
            for task in waiting:
                task.cancel()
            self._link.ws.abort()
            await asyncio.wait(waiting)
            for task in waiting:
                if not task.cancelled() and not task.exception() and task is self._next:
                    self._next.result().ws.abort()
            self._next = None

    async def _dial(self) -> Connection:
        connection = await self._dialer.dial(
            timeout=self._timeout,
            dead_after=self._options.dead_link_timeout,
            cold_start=self._options.cold_start_timeout,
        )
        self._acquired(connection.ws.acquire_time, connection.reused)
        return connection

    async def _open(self, connection: Connection, start: int) -> Link:
        options = self._options
        link = Link(
            connection.ws,
            self._new_protocol(),
            self._replay,
            start=start,
            opened=connection.opened,
            speed=options.replay_speed,
            answer_timeout=self._timeout,
            check_interval=options.dead_link_timeout / 2,
        )
        self._turns.configure(language=options.language)
        self._last_transcript = time.monotonic()
        self._loud = 0.0
        self._sent.clear()
        try:
            await link.open()
        except BaseException:
            link.ws.abort()
            raise
        return link

    # --- audio out

    async def _send(self) -> None:
        while True:
            async with self._sending:
                assert self._link is not None
                await self._link.catch_up()
            try:
                self._take(await self._audio.recv())
                while True:
                    self._take(self._audio.recv_nowait())
            except ChanEmpty:
                continue
            except ChanClosed:
                break
        async with self._sending:
            self._ending = True
            await self._link.end()

    def _take(self, item: object) -> None:
        if isinstance(item, rtc.AudioFrame):
            self._replay.append(item.data)
            self._wall.heard(self._replay.end)
            self._last_audio = time.monotonic()
            self._stopped = False
            self._unreported += item.samples_per_channel
            if self._unreported >= _USAGE * self._rate:
                self.report_usage()
        elif item is not _WAKE and not (self._audio.closed and self._audio.empty()):
            # The one before the end of input is left out: the end ends the segment too.
            self._replay.mark()

    def report_usage(self) -> None:
        """Report the audio since the last report."""
        seconds, self._unreported = self._unreported / self._rate, 0
        if seconds:
            self._emit(
                stt.SpeechEvent(
                    type=stt.SpeechEventType.RECOGNITION_USAGE,
                    request_id=self._request_id,
                    recognition_usage=stt.RecognitionUsage(audio_duration=seconds),
                )
            )

    def finish(self) -> None:
        """Close an open turn and report the rest of the audio, when the stream ends for good."""
        with contextlib.suppress(ChanEmpty, ChanClosed):
            while True:
                item = self._audio.recv_nowait()
                if isinstance(item, rtc.AudioFrame):
                    self._unreported += item.samples_per_channel
        for event in self._turns.close(self._request_id):
            self._emit(event)
        self.report_usage()

    @property
    def _request_id(self) -> str:
        return (self._link.ws.request_id or "") if self._link else ""

    # --- results in

    async def _receive(self, sender: asyncio.Task[None]) -> None:
        while True:
            link = self._link
            assert link is not None
            message: str | bytes | Closed | None = None
            with contextlib.suppress(APITimeoutError):
                message = await link.ws.receive(timeout=_TICK)
            if isinstance(message, Closed):
                raise self._broken(link, message)
            if message is not None:
                for heard in link.read(message):
                    self._hear(link, heard)
            if link.protocol.ended:
                self._replay.cover(link.cursor)
                return
            now = time.monotonic()
            if now - self._ticked >= _TICK:
                self._ticked = now
                await self._watch(link, sender, now)
            if self._renew_from is not None:
                await self._renew(link, now)

    def _hear(self, link: Link, heard: Heard) -> None:
        self._rejections = 0
        if isinstance(heard, Lost):
            self._lose(link, heard)
        elif isinstance(heard, Transcript):
            self._last_transcript = time.monotonic()
            self._loud = 0.0
            longest = self._options.longest_segment
            span = (heard.end or 0.0) - (heard.start or 0.0)
            length = heard.details.get("audio_length_sec")
            forced = (
                heard.final
                and not heard.flushed
                and (
                    span >= longest - 1.5
                    or (isinstance(length, (int, float)) and length >= longest - 0.1)
                )
            )
            self._forced = forced
            events = self._turns.hear(
                heard,
                to_stream=lambda seconds: link.timeline.position(seconds) / self._rate,
                offset=self.offset,
                request_id=self._request_id,
                goes_on=forced,
            )
            if heard.final:
                self._cover(link, heard)
            for event in events:
                self._emit(event)

    def _cover(self, link: Link, final: Transcript) -> None:
        if final.flushed:
            position = link.answered()
        elif final.end is not None:
            position = link.timeline.position(final.end)
        else:
            position = link.cursor - round(_UNTIMED * self._rate)
        self._replay.cover(min(position, link.cursor))

    def _lose(self, link: Link, lost: Lost) -> None:
        if not lost.segment:
            logger.warning("the server reports an error, and goes on: %s", lost.error)
            return
        if self._replay.covered != self._lost_at:
            # The audio is still here: another connection may fare better, once.
            self._lost_at = self._replay.covered
            raise APIError(str(lost.error), retryable=True)
        logger.warning("a segment can't be transcribed and is left out: %s", lost.error)
        self._replay.cover(link.cursor)
        for event in self._turns.close(self._request_id):
            self._emit(event)

    def _broken(self, link: Link, closed: Closed) -> APIError:
        error = link.ws.error(closed)
        if closed.code != 1011 or link.heard:
            return error
        # Refused metadata looks like this, and so does a model that fails: one more try tells.
        self._rejections += 1
        keys = ", ".join(link.protocol.configured())
        return APIStatusError(
            f"{WHAT}: configuration rejected: the deployment closed the connection with 1011 "
            f"before any answer. Sent were {keys}. An older runtime refuses newer keys, and a "
            "deployment of another kind refuses them all",
            status_code=1011,
            request_id=link.ws.request_id,
            retryable=self._rejections < 2,
        )

    # --- watching

    async def _watch(self, link: Link, sender: asyncio.Task[None], now: float) -> None:
        if sender.done() and not sender.cancelled() and (failure := sender.exception()):
            if link.ws.closed is None or not isinstance(failure, APIError):
                raise failure
            return  # what the server said before it closed comes first
        await link.check()
        self._trim(link, now)
        options = self._options
        quiet_for = now - self._last_audio
        if self._turns.speaking and not self._ending:
            if self._forced and now - self._last_transcript > (
                options.partial_transcript_interval_s
                + options.vad_min_silence_duration_ms / 1000
                + 1.5
            ):
                for event in self._turns.close(self._request_id):
                    self._emit(event)
            elif quiet_for > _AUDIO_STOPPED + options.vad_min_silence_duration_ms / 1000:
                # A muted microphone sends no silence that would end the turn.
                if not self._stopped and not self._audio.closed:
                    self._stopped = True
                    self._audio.send_nowait(stt.RecognizeStream._FlushSentinel())
            elif now - self._last_transcript > options.longest_segment + self._timeout:
                raise errors.timed_out(f"{WHAT}: the end of a turn", now - self._last_transcript)
        if self._renew_from is None and now - link.opened > options.max_connection_age:
            self._renew_from = now
        self._diagnose(link, now)

    def _diagnose(self, link: Link, now: float) -> None:
        end = self._replay.end
        if end == 0:
            if now - self._started > _NO_AUDIO:
                self._warn("no audio has arrived for %.0f s: is a track subscribed?", _NO_AUDIO)
            return
        if end > self._looked:
            fresh = min(end - self._looked, self._rate // 4)
            self._looked = end
            if peak(self._replay.read(end - fresh, fresh)) > _LOUD:
                self._loud += _TICK
        if self._loud > self._options.dead_link_timeout and not link.heard:
            raise errors.timed_out(f"{WHAT}: the first answer", self._loud)
        if self._loud > _UNANSWERED:
            self._warn(
                "audio that isn't silent has gone out for %.0f s and no transcript came back: "
                "check language and vad_threshold",
                _UNANSWERED,
            )

    def _warn(self, text: str, *args: object) -> None:
        if text not in self._warned:
            self._warned.add(text)
            logger.warning(text, *args)

    def _trim(self, link: Link, now: float) -> None:
        # What was sent that long ago, and has no final, was silence.
        options = self._options
        self._sent.append((now, link.cursor))
        while self._sent[0][0] < now - options.dead_link_timeout - self._timeout:
            _, sent = self._sent.popleft()
            longest = max(30.0, float(options.final_transcript_max_duration_s))
            keep = longest + options.dead_link_timeout + self._timeout
            self._replay.cover(min(sent, link.cursor - round(keep * self._rate)))

    # --- a planned successor

    async def _renew(self, link: Link, now: float) -> None:
        assert self._renew_from is not None
        if self._ending or now < self._renew_from:
            return
        if self._next is None:
            self._next = asyncio.create_task(self._dial(), name="baseten.stt.renew")
            return
        longest = self._options.longest_segment + self._timeout
        if not self._next.done() or (self._turns.speaking and now - self._renew_from < longest):
            return
        dialled, self._next = self._next, None
        error = dialled.exception()
        if error is not None and not isinstance(error, APIError):
            raise error
        if error is not None or dialled.result().ws.closed:
            logger.warning("the next connection failed, this one goes on meanwhile: %s", error)
            self._renew_from = now + _RENEW_AGAIN
            return
        async with self._sending:
            if self._ending:
                dialled.result().ws.abort()
                return
            self._renew_from = None
            start = await self._drain(link)
            link.ws.abort()
            self._link = await self._open(dialled.result(), start)
        with contextlib.suppress(ChanClosed):
            self._audio.send_nowait(_WAKE)

    async def _drain(self, link: Link) -> int:
        """End the old connection; where the new one begins.

        Speech that is under way is left to the new connection as a whole.
        """
        spoken = False
        until = time.monotonic() + _DRAIN
        try:
            await link.end()
            while not link.protocol.ended:
                left = until - time.monotonic()
                message = await link.ws.receive(timeout=max(left, 0.001))
                if isinstance(message, Closed):
                    break
                for heard in link.read(message):
                    if not isinstance(heard, Transcript):
                        continue
                    if heard.flushed and link.unanswered <= 1:
                        spoken = spoken or bool(heard.text)
                    elif heard.final:
                        self._hear(link, heard)
        except APIError:
            spoken = True
        if link.protocol.ended and not spoken:
            self._replay.cover(link.cursor - round(_LEAD * self._rate))
        return self._replay.covered
