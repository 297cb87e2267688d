from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable

from livekit.agents import APIError
from livekit.agents.utils import aio
from livekit.plugins.baseten_common import ApiKey, Closed, errors

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
            await _Exchange(self, line).run(script, playback)
            return
        except _Stale:
            pass
        # It died while it waited and nothing of it was heard, so the text goes to a new one.
        waited = line.acquire_time
        line = await self._sockets.dial(self._prelude, limit=self._limit)
        line.acquire_time += waited
        await _Exchange(self, line).run(script, playback)


class _Stale(Exception):
    pass


class _Exchange:
    """What goes over one connection for one utterance."""

    def __init__(self, conversation: Conversation, line: Line) -> None:
        self._c = conversation
        self._line = line
        self._utterance = conversation._utterance(line)
        self._heard = False
        self._due_since: float | None = None
        self._sent_at = 0.0

    async def run(self, script: Script, playback: Playback) -> None:
        ws = self._line.ws
        playback.note_request(ws.request_id)
        self._c._started(self._line)
        sender = asyncio.create_task(self._send(script), name="baseten.tts.send")
        # Only now, so that the text goes out before the work of dialling begins.
        self._c._sockets.warm()
        reusable = False
        try:
            heard = await ws.listen(
                functools.partial(self._take, playback), patience=self._patience
            )
            finished = self._judge(heard, sender) if isinstance(heard, Closed) else heard
            reusable = finished.reusable
            playback.finish()
        finally:
            try:
                await aio.cancel_and_wait(sender)
            except asyncio.CancelledError:
                reusable = False  # how far the sender got is unknown
                raise
            finally:
                if reusable:
                    self._c._sockets.give_back(self._line)
                else:
                    # Says to the server at once that nobody listens any more.
                    ws.abort()

    async def _send(self, script: Script) -> None:
        lingering = asyncio.create_task(self._linger(), name="baseten.tts.linger")
        try:
            await self._post(self._utterance.open())
            async for part in script.parts():
                await self._post(self._utterance.say(part))
            await self._post(self._utterance.end())
        except Exception:
            # Wakes the reader, which has the server's reason if there is one.
            self._line.ws.abort()
            raise
        finally:
            await aio.cancel_and_wait(lingering)

    async def _linger(self) -> None:
        with contextlib.suppress(APIError):  # the next text finds out
            while True:
                await asyncio.sleep(_PAUSE)
                if time.monotonic() - self._sent_at >= _PAUSE:
                    await self._post(self._utterance.linger())

    async def _post(self, messages: list[str]) -> None:
        # Counted from when the messages are on their way, not from when they are through.
        self._note_progress(only_new=True)
        self._sent_at = time.monotonic()
        for message in messages:
            await self._line.ws.send(message, timeout=self._c._limit)

    def _note_progress(self, *, only_new: bool = False) -> None:
        if not self._utterance.due:
            self._due_since = None
        elif self._due_since is None or not only_new:
            self._due_since = time.monotonic()

    def _take(self, playback: Playback, message: str | bytes) -> Finished | None:
        self._heard = True
        said = False
        finished: Finished | None = None
        for event in self._utterance.receive(message):
            if isinstance(event, Audio):
                said = said or bool(event.data)
                playback.play(event)
                continue
            said = True
            if isinstance(event, Spoken):
                playback.caption(event)
            elif isinstance(event, Failed):
                raise self._failure(event)
            else:
                finished = event
                break
        # A server that talks and says nothing is waited for no longer than one that is silent.
        self._note_progress(only_new=not said)
        return finished

    def _failure(self, failed: Failed) -> APIError:
        return failure_of(failed, key=self._c._key, request_id=self._line.ws.request_id)

    def _patience(self) -> float:
        limit, since = self._c._limit, self._due_since
        left = limit if since is None else since + limit - time.monotonic()
        if left <= 0:
            raise errors.timed_out(WHAT, limit)
        return left

    def _judge(self, closed: Closed, sender: asyncio.Task[None]) -> Finished:
        if sender.done() and not sender.cancelled() and (error := sender.exception()):
            if self._line.reused and not self._heard:
                raise _Stale from None
            if closed.code == 1006:
                raise error from None
        verdict = self._utterance.closed(closed)
        if isinstance(verdict, Finished):
            return verdict
        if self._line.reused and not self._heard:
            raise _Stale
        raise self._failure(verdict) if verdict is not None else self._line.ws.error(closed)
