"""A stream's connections: one after another, each beginning where the finals of the last end."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable

from livekit.agents import APIError, stt
from livekit.plugins.baseten_common import Closed, errors

from .dialer import Connection, Dialer
from .handover import Handover
from .intake import Intake
from .link import Link
from .log import logger
from .options import STTOptions
from .protocols import PROTOCOLS, Heard, Lost, SpeechProtocol, Transcript
from .protocols.transcription import WHAT
from .rejections import Rejections
from .turns import Turns
from .watch import Watch

__all__ = ["Recognition"]

_TICK = 1.0  # seconds between looks at the clock, at most
_HASTE = 0.05  # the same, while a hand-over is due
_PARTIAL_LATE = 2.0  # seconds that a partial may come late before what is quiet is silence
_AUDIO_STOPPED = 1.0  # seconds without audio in mid-turn, after which the turn is ended
_LEAD = 0.3  # seconds of silence that a new connection hears before what is new
_DRAIN = 2.0  # seconds that the old connection has to say whether speech was under way
_LATE = 1.0  # seconds that a final may come after the end was confirmed
_NOTICED = 0.75  # of dead_link_timeout, in which health checks and heartbeats notice a dead link


class Recognition:
    """Recognises one stream of audio over as many connections as it takes.

    It holds no reference to the stream object, so that a stream that is dropped can be freed.

    Attributes:
        intake: Takes the audio.
        offset: What is added to every time that is reported, in seconds.
        failures: Attempts in a row in which nothing was recognised and no connection held.
    """

    def __init__(
        self,
        *,
        options: STTOptions,
        dialer: Dialer,
        emit: Callable[[stt.SpeechEvent], None],
        acquired: Callable[[float, bool], None],
        timeout: float,
    ) -> None:
        """Begin without a connection.

        Args:
            options: What to open connections with.
            dialer: Opens them.
            emit: Takes the events.
            acquired: Takes the seconds that each connection took, and whether it was dialled ahead.
            timeout: Seconds for connecting, and for each answer that is due.
        """
        self.offset = 0.0
        self.failures = 0
        self._options = options
        self._dialer = dialer
        self._emit = emit
        self._acquired = acquired
        self._timeout = timeout
        # A connection that held this long had a reason to fail of its own.
        self._steady = timeout + options.dead_link_timeout
        self._tick = min(_TICK, options.dead_link_timeout / 4)
        self._rate = self._new_protocol().sample_rate
        self.intake = Intake(sample_rate=self._rate, report=self._report)
        self._replay = self.intake.replay
        self._watch = Watch(self._replay, self._rate)
        wall = self.intake.wall
        rate = self._rate
        self._turns = Turns(
            language=options.language,
            interims=options.enable_partial_transcripts,
            preflight=options.preflight,
            wall=lambda seconds: wall.at(round(seconds * rate)),
        )
        self._link: Link | None = None
        self._sending = asyncio.Lock()
        self._ending = False
        self._handover = Handover(self._dial)
        self._outage: float | None = None
        self._rejections = Rejections()
        self._lost_at = -1
        self._last_transcript = self._ticked = time.monotonic()
        self._forced = False

    def _new_protocol(self) -> SpeechProtocol:
        return PROTOCOLS[self._options.model](self._options)

    def reconfigure(self, options: STTOptions) -> None:
        """Go on with other options, from the next pause in speech on."""
        if options == self._options:
            return
        self._options = options
        self._handover.want()

    @property
    def options(self) -> STTOptions:
        """The options of the next connection."""
        return self._options

    async def attempt(self) -> None:
        """Recognise until the end of the audio, over one connection and its planned successors.

        Raises:
            APIError: the connection failed. Calling this again goes on where the finals end.
        """
        if self.intake.exhausted:
            return
        self.failures += 1
        began, covered = time.monotonic(), self._replay.covered
        # Retries of an outage share the time that a deployment is given to start.
        self._outage = began if self._outage is None else self._outage
        connection = await self._dial(since=self._outage)
        self._outage = None
        self._ending = False
        self._handover.forget()
        self._link = await self._open(connection, self._replay.covered)
        sender = asyncio.create_task(self._send(), name="baseten.stt.send")
        try:
            await self._receive(sender)
        except (APIError, asyncio.CancelledError):
            raise
        except Exception as e:
            # Anything else would end speech-to-text for the rest of the session.
            raise APIError(f"{WHAT}: unexpected {type(e).__name__}: {e}") from e
        finally:
            worked = self._link.heard and time.monotonic() - began > self._steady
            if worked or self._replay.covered > covered:
                self.failures = 0
            sender.cancel()
            self._link.ws.abort()
            await asyncio.wait([sender])
            if not sender.cancelled():
                sender.exception()
            await self._handover.cancel()

    async def _dial(self, since: float | None = None) -> Connection:
        connection = await self._dialer.dial(
            timeout=self._timeout,
            dead_after=self._options.dead_link_timeout,
            cold_start=self._options.cold_start_timeout,
            since=time.monotonic() if since is None else since,
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
            # A check and its answer may each be late by a tick.
            check_interval=options.dead_link_timeout * _NOTICED / 2 - self._tick,
        )
        self._turns.configure(language=options.language)
        self._last_transcript = time.monotonic()
        self._watch.restart()
        try:
            await link.open()
        except BaseException as e:
            closed = link.ws.closed
            link.ws.abort()
            if closed and isinstance(e, APIError):
                raise self._rejections.broken(link, closed) from None
            raise
        return link

    # --- audio out

    async def _send(self) -> None:
        while True:
            async with self._sending:
                link = self._link
                assert link is not None
                await link.catch_up()
                if self.intake.closed and link.cursor + link.protocol.frame_samples > (
                    self._replay.end
                ):
                    self._ending = True
                    await link.end()
                    return
            await self.intake.wait(link.cursor + link.protocol.frame_samples, link.keep_up)

    def _report(self, seconds: float) -> None:
        self._emit(
            stt.SpeechEvent(
                type=stt.SpeechEventType.RECOGNITION_USAGE,
                request_id=self._request_id,
                recognition_usage=stt.RecognitionUsage(audio_duration=seconds),
            )
        )

    def finish(self) -> None:
        """Close an open turn and report the rest of the audio, when the stream ends for good."""
        self._close_turn()
        self.intake.report_usage()

    def _close_turn(self) -> None:
        for event in self._turns.close(self._request_id):
            self._emit(event)

    @property
    def _request_id(self) -> str:
        return (self._link.ws.request_id or "") if self._link else ""

    # --- results in

    async def _receive(self, sender: asyncio.Task[None]) -> None:
        while True:
            link = self._link
            assert link is not None
            try:
                came = await link.ws.listen(
                    functools.partial(self._take, link),
                    patience=functools.partial(self._patience, link, sender),
                )
            except _Successor as successor:
                came = successor.args[0]
            if isinstance(came, Closed):
                raise self._rejections.broken(link, came)
            if isinstance(came, Connection):
                await self._go_over(link, came)
                continue
            await self._hear_late(link)
            if self._turns.speaking and not self._forced:
                self._lose(link, Lost(APIError(f"{WHAT}: a turn ended without its final")))
            self._replay.cover(link.cursor)
            return

    def _take(self, link: Link, message: str | bytes) -> Connection | bool | None:
        for heard in link.read(message):
            self._hear(link, heard)
        return link.protocol.ended or self._successor()

    def _patience(self, link: Link, sender: asyncio.Task[None]) -> float:
        now = time.monotonic()
        if now - self._ticked >= self._tick:
            self._ticked = now
            self._look(link, sender, now)
        connection = self._successor()
        if connection is not None:
            raise _Successor(connection)
        left = self._ticked + self._tick - now
        return min(left, _HASTE) if self._handover.wanted else left

    async def _hear_late(self, link: Link) -> None:
        """Give finals that the confirmation of the end has overtaken a moment."""
        until = time.monotonic() + _LATE
        while (self._turns.speaking and not self._forced) or self._watch.unanswered():
            results = await link.listen(until)
            if results is None:
                return
            for heard in results:
                self._hear(link, heard)

    def _hear(self, link: Link, heard: Heard) -> None:
        self._rejections.forget()
        if isinstance(heard, Lost):
            self._lose(link, heard)
        elif isinstance(heard, Transcript):
            self._last_transcript = time.monotonic()
            self._watch.loud = 0.0
            self._forced = forced = heard.cut_off(self._options.longest_segment)
            events = self._turns.hear(
                heard,
                to_stream=link.timeline.seconds,
                offset=self.offset,
                request_id=self._request_id,
                goes_on=forced,
            )
            if heard.final:
                self._replay.cover(link.covered_by(heard))
            for event in events:
                self._emit(event)

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
        self._close_turn()

    # --- watching

    def _look(self, link: Link, sender: asyncio.Task[None], now: float) -> None:
        if sender.done() and not sender.cancelled() and (failure := sender.exception()):
            if link.ws.closed is None or not isinstance(failure, APIError):
                raise failure
            return  # what the server said before it closed comes first
        link.check(now)
        options = self._options
        self._watch.look(now)
        if self._watch.loud > options.dead_link_timeout and not link.heard:
            raise errors.timed_out(f"{WHAT}: the first answer", self._watch.loud)
        if self._turns.speaking:
            self._look_at_turn(now)
        else:
            patience = self._timeout
            if options.enable_partial_transcripts:
                patience = min(patience, options.partial_transcript_interval_s + _PARTIAL_LATE)
            longest = max(30.0, float(options.final_transcript_max_duration_s))
            self._watch.forget_silence(
                now,
                link.cursor,
                patience=patience,
                # A dead link may have held up the audio, and a server may take its time to answer.
                longest=longest + _NOTICED * options.dead_link_timeout + self._timeout,
            )
        if now - link.opened > options.max_connection_age:
            self._handover.want()

    def _look_at_turn(self, now: float) -> None:
        options = self._options
        unheard = now - self._last_transcript
        silence = options.vad_min_silence_duration_ms / 1000
        if self._forced and unheard > options.partial_transcript_interval_s + silence + 1.5:
            self._close_turn()
        elif now - self.intake.last > _AUDIO_STOPPED + silence:
            # A muted microphone sends no silence that would end the turn.
            self.intake.flush()
        elif unheard > options.longest_segment + self._timeout and not self._ending:
            raise errors.timed_out(f"{WHAT}: the end of a turn", unheard)

    # --- a planned successor

    def _successor(self) -> Connection | None:
        if self._ending or not self._handover.wanted:
            return None
        patience = self._options.longest_segment + self._timeout
        return self._handover.ready(speaking=self._turns.speaking, patience=patience)

    async def _go_over(self, link: Link, connection: Connection) -> None:
        async with self._sending:
            self.intake.wake()  # what is pushed from here on waits for the sender, and it for this
            if self._ending:
                connection.ws.abort()
                return
            self._handover.forget()
            try:
                start = await self._drain(link)
            except BaseException:
                connection.ws.abort()
                raise
            link.ws.abort()
            self._link = await self._open(connection, start)

    async def _drain(self, link: Link) -> int:
        """End the old connection; where the new one begins.

        Speech that is under way is left to the new connection as a whole.
        """
        spoken = False
        until = time.monotonic() + _DRAIN
        try:
            await link.end()
            while not link.protocol.ended:
                results = await link.listen(until)
                if results is None:
                    break
                for heard in results:
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


class _Successor(Exception):
    """That it is time to go over to another connection, which comes with it."""
