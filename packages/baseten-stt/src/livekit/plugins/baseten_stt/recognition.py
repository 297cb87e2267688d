"""A stream's connections: one after another, each beginning where the finals of the last end."""

from __future__ import annotations

import asyncio
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
_UNTIMED = 1.0  # seconds before the last audio sent that a final without times leaves open


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
            self._link.abort()
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
            check_interval=options.dead_link_timeout / 2,
        )
        self._turns.configure(language=options.language)
        self._last_transcript = time.monotonic()
        self._watch.restart()
        try:
            await link.open()
        except BaseException as e:
            closed = link.ws.closed
            link.abort()
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
            await self.intake.wait(link.cursor + link.protocol.frame_samples, self._keep_up)

    def _keep_up(self) -> int | None:
        if self._sending.locked() or self._link is None:
            return None  # a hand-over is under way
        try:
            return self._link.keep_up()
        except APIError:
            return None  # the sender meets it too

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
            message = await link.next(_HASTE if self._handover.wanted else self._tick)
            if isinstance(message, Closed):
                raise self._rejections.broken(link, message)
            if message is not None:
                for heard in link.read(message):
                    self._hear(link, heard)
            if link.protocol.ended:
                await self._hear_late(link)
                if self._turns.speaking and not self._forced:
                    self._lose(link, Lost(APIError(f"{WHAT}: a turn ended without its final")))
                self._replay.cover(link.cursor)
                return
            now = time.monotonic()
            if now - self._ticked >= self._tick:
                self._ticked = now
                await self._look(link, sender, now)
            if self._handover.wanted and not self._ending:
                await self._go_over(link)

    async def _hear_late(self, link: Link) -> None:
        """Give finals that the confirmation of the end has overtaken a moment."""
        until = time.monotonic() + _LATE
        while (self._turns.speaking and not self._forced) or self._watch.unanswered():
            message = await link.next(until - time.monotonic())
            if message is None or isinstance(message, Closed):
                return
            for heard in link.read(message):
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
            position = 0
        if position <= self._replay.covered and final.text:
            # The server gives no times, or not the connection's.
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
        self._close_turn()

    # --- watching

    async def _look(self, link: Link, sender: asyncio.Task[None], now: float) -> None:
        if sender.done() and not sender.cancelled() and (failure := sender.exception()):
            if link.ws.closed is None or not isinstance(failure, APIError):
                raise failure
            return  # what the server said before it closed comes first
        await link.check()
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
                longest=longest + options.dead_link_timeout + self._timeout,
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

    async def _go_over(self, link: Link) -> None:
        patience = self._options.longest_segment + self._timeout
        connection = self._handover.ready(speaking=self._turns.speaking, patience=patience)
        if connection is None:
            return
        async with self._sending:
            if self._ending:
                connection.ws.abort()
                return
            self._handover.forget()
            try:
                start = await self._drain(link)
            except BaseException:
                connection.ws.abort()
                raise
            link.abort()
            self._link = await self._open(connection, start)
        self.intake.wake()

    async def _drain(self, link: Link) -> int:
        """End the old connection; where the new one begins.

        Speech that is under way is left to the new connection as a whole.
        """
        spoken = False
        until = time.monotonic() + _DRAIN
        try:
            await link.end()
            while not link.protocol.ended:
                message = await link.next(max(0.0, until - time.monotonic()))
                if message is None or isinstance(message, Closed):
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
