from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from collections.abc import Callable

from livekit.agents import APIError
from livekit.agents.utils import aio
from livekit.plugins.baseten_common import MIN_BYTES_PER_SECOND, ApiKey, Closed, errors

from .failures import WHAT, failure_of
from .lines import Line
from .playback import Playback
from .protocols import Audio, Failed, Finished, Spoken, Utterance
from .script import Script
from .warm import WarmSockets

__all__ = ["Conversation"]

_PAUSE = 12.0  # seconds of the text after which a server may want a sign of life


class Conversation:
    """One utterance over a WebSocket, from the first word to the last sample."""

    def __init__(
        self,
        *,
        sockets: WarmSockets,
        utterance: Callable[[Line], Utterance],
        prelude: str,
        limit: float,
        key: ApiKey,
        started: Callable[[Line], None],
    ) -> None:
        """Nothing is dialled yet.

        Args:
            sockets: Where connections come from.
            utterance: Makes the protocol's state for a connection.
            prelude: The configuration that the connection must have.
            limit: Seconds to wait for a connection, and for each answer that is due.
            key: Kept out of error messages.
            started: Called when a connection is there and the first message goes out.
        """
        self._sockets = sockets
        self._utterance = utterance
        self._prelude = prelude
        self._limit = limit
        self._key = key
        self._started = started

    async def speak(self, script: Script, playback: Playback) -> None:
        """Speak the text, whose end may be far off.

        Raises:
            APIError: the utterance isn't complete.
        """
        line = await self._sockets.take(self._prelude, limit=self._limit)
        try:
            await _Exchange(self, line, script).run(playback)
            return
        except _Stale:
            pass
        # It died while it waited and nothing of it was heard, so the text goes to a new one.
        waited = line.acquire_time
        line = await self._sockets.dial(self._prelude, limit=self._limit)
        line.acquire_time += waited
        await _Exchange(self, line, script).run(playback)


class _Stale(Exception):
    pass


class _Exchange:
    """What goes over one connection for one utterance."""

    def __init__(self, conversation: Conversation, line: Line, script: Script) -> None:
        self._c = conversation
        self._line = line
        self._script = script
        self._utterance = conversation._utterance(line)
        self._opened = self._ended = False
        self._read = 0  # pieces of the text
        self._unsent: deque[str] = deque()
        self._broken: Exception | None = None
        self._heard = False
        self._due_since: float | None = None

    async def run(self, playback: Playback) -> None:
        ws = self._line.ws
        self._c._started(self._line)
        # What there is goes out before anything else is done: a task would start a turn later.
        self._send_at_once()
        sender: asyncio.Task[None] | None = None
        if not self._all_sent:
            sender = asyncio.create_task(self._send(), name="baseten.tts.send")
        self._c._sockets.warm_soon()
        playback.note_request(ws.request_id)
        reusable = False
        try:
            heard = await ws.listen(
                functools.partial(self._take, playback), patience=self._patience
            )
            finished = self._judge(heard) if isinstance(heard, Closed) else heard
            reusable = finished.reusable
            playback.finish()
        finally:
            try:
                if sender is not None:
                    await aio.cancel_and_wait(sender)
            except asyncio.CancelledError:
                reusable = False  # how far the sender got is unknown
                raise
            finally:
                if reusable and self._all_sent:
                    self._c._sockets.give_back(self._line)
                else:
                    # Says to the server at once that nobody listens any more.
                    ws.abort()

    @property
    def _all_sent(self) -> bool:
        return self._ended and not self._unsent

    async def _send(self) -> None:
        try:
            while not self._all_sent and self._broken is None:
                if self._unsent:
                    await self._line.ws.send(self._unsent.popleft(), timeout=self._c._limit)
                elif not await self._script.more(self._read, timeout=_PAUSE):
                    self._unsent.extend(self._utterance.linger())
                self._send_at_once()
        except Exception as e:
            self._break_off(e)

    def _send_at_once(self) -> None:
        """Send what there is of the text, as far as the line takes it without a wait."""
        ws = self._line.ws
        try:
            while self._unsent or self._compose():
                while self._unsent:
                    if not ws.send_nowait(self._unsent[0]):
                        return
                    self._unsent.popleft()
        except Exception as e:
            self._break_off(e)

    def _break_off(self, error: Exception) -> None:
        # Wakes the reader, which has the server's reason if there is one.
        self._broken = error
        self._line.ws.abort()

    def _compose(self) -> bool:
        """Whether there was anything to send."""
        if not self._opened:
            self._opened = True
            messages = self._utterance.open()
        elif parts := self._script.after(self._read):
            self._read += len(parts)
            messages = self._utterance.say("".join(parts))
        elif self._script.ended and not self._ended:
            self._ended = True
            messages = self._utterance.end()
        else:
            return False
        # Counted from when the messages are on their way, not from when they are through.
        self._note_progress()
        self._unsent.extend(messages)
        return True

    def _note_progress(self, audio: int = 0) -> None:
        """See whether an answer is due, and since when: what came of it buys a time of its own."""
        now = time.monotonic()
        if not self._utterance.due:
            self._due_since = None
        elif self._due_since is None:
            self._due_since = now
        else:
            self._due_since = min(now, self._due_since + audio / MIN_BYTES_PER_SECOND)

    def _take(self, playback: Playback, message: str | bytes) -> Finished | None:
        audio = 0
        finished: Finished | None = None
        for event in self._utterance.receive(message):
            self._heard = True
            if isinstance(event, Audio):
                audio += len(event.data)
                playback.play(event)
            elif isinstance(event, Spoken):
                playback.caption(event)
            elif isinstance(event, Failed):
                raise self._failure(event)
            else:
                finished = event
                break
        # A server that talks and says next to nothing is waited for no longer than a silent one.
        self._note_progress(audio)
        return finished

    def _failure(self, failed: Failed) -> APIError:
        return failure_of(failed, key=self._c._key, request_id=self._line.ws.request_id)

    def _patience(self) -> float:
        limit, since = self._c._limit, self._due_since
        left = limit if since is None else since + limit - time.monotonic()
        if left <= 0:
            raise errors.timed_out(WHAT, limit, request_id=self._line.ws.request_id)
        return left

    def _judge(self, closed: Closed) -> Finished:
        if self._broken is not None:
            if self._line.reused and not self._heard:
                raise _Stale from None
            if closed.code == 1006:
                raise self._broken from None
        verdict = self._utterance.closed(closed)
        if isinstance(verdict, Finished):
            return verdict
        if self._line.reused and not self._heard:
            raise _Stale
        raise self._failure(verdict) if verdict is not None else self._line.ws.error(closed)
