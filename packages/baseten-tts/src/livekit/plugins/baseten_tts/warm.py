"""WebSockets dialled ahead, so that an utterance starts with its text and not with handshakes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import aiohttp

from livekit.agents import APIError, APITimeoutError
from livekit.plugins.baseten_common import Closed, WebSocket, timeout

from .lines import KeepAlive, Line, kind_of
from .log import logger

__all__ = ["WarmSockets"]

_FIRST_PAUSE = 0.5  # seconds before a socket that died young is dialled anew, doubled each time
_LONGEST_PAUSE = 30.0
_LIMIT = 10.0  # seconds for a handshake that nobody waits for
_YOUNG = 5.0
_AFTER_TEXT = 0.002  # seconds: the text needs less to go out, and a caller may interrupt at once
_SOON = 1.0  # seconds within which a close is the answer to what was sent
_ONE_SHOT_LIFE = 25.0  # below the 30 s after which such a server ends an idle session


class WarmSockets:
    """Keeps a number of connections open ahead of use, and watches them.

    It knows nothing of the TTS that it belongs to, so that one can be dropped.

    Attributes:
        one_shot: Whether the server takes one utterance a connection; None while unknown.
    """

    def __init__(
        self,
        *,
        session: Callable[[], aiohttp.ClientSession],
        dial: Callable[[float, float], Awaitable[WebSocket]],
        prelude: Callable[[], Awaitable[str]],
        number: int,
        lifetime: float,
        keep_alive: KeepAlive | None = None,
        one_shot: bool | None = None,
        cold_start: float = 0.0,
    ) -> None:
        """Nothing is dialled yet.

        Args:
            session: Gives the session that connections belong to.
            dial: Opens a connection, in the seconds given; those of a cold start are counted from
                the time given.
            prelude: The configuration to send on it at once; blank for none.
            number: Connections to keep waiting; 0 keeps none.
            lifetime: Seconds after the last utterance for which they are kept.
            keep_alive: How an idle session is kept from ending.
            one_shot: Whether the server takes one utterance a connection, if that is known.
            cold_start: Seconds for which ``dial`` waits for a deployment that is starting.
        """
        self._session = session
        self._using: aiohttp.ClientSession | None = None
        self._dial = dial
        self._prelude = prelude
        self._number = number
        self._lifetime = lifetime
        self._keep_alive = keep_alive
        self.one_shot = one_shot
        self._cold_start = cold_start
        self._current: str | None = None  # the configuration, as far as it is known
        self._idle: list[Line] = []
        self._tasks: set[asyncio.Future[Any]] = set()
        self._filling: set[asyncio.Task[None]] = set()
        self._under_way: set[asyncio.Future[None]] = set()  # handshakes, without the pauses
        self._loop: asyncio.AbstractEventLoop | None = None
        self._until = 0.0
        self._early_deaths = 0
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections that are waiting."""
        return len(self._idle)

    def warm(self) -> None:
        """Dial what is missing, in the background. Never fails and never waits."""
        if self._wanted():
            self._fill()

    def warm_soon(self) -> None:
        """The same in a moment, so that the work of a handshake doesn't come before the text's."""
        if self._wanted():
            self._fill(pause=_AFTER_TEXT)

    def _wanted(self) -> bool:
        """Whether any are kept; if so, for a lifetime from now on and on this loop."""
        if self._closed or not self._number:
            return False
        loop = asyncio.get_running_loop()
        try:
            self._using = self._session()
        except RuntimeError:
            return False  # outside of a job
        if self._loop is not loop:
            # Sockets of an earlier loop, which can't be used from this one.
            for kept in self._idle, self._filling, self._under_way, self._tasks:
                kept.clear()
            self._loop = loop
        self._until = time.monotonic() + self._lifetime
        return True

    async def take(self, prelude: str, *, limit: float) -> Line:
        """A connection with this configuration: one that waits, or a new one.

        What was taken isn't replaced before :meth:`warm` or :meth:`warm_soon` is called.

        Args:
            prelude: The configuration.
            limit: Seconds to wait for it.

        Raises:
            APIError: it couldn't be opened.
        """
        start = time.monotonic()
        line = self._pop(prelude)
        if line is None and self._under_way:
            # One on its way is closer than one dialled now, unless it hangs.
            patience = max(limit / 2, self._cold_start)
            await asyncio.wait(
                self._under_way, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            line = self._pop(prelude)
        if line is None:
            left = max(limit / 2, start + limit - time.monotonic())
            line = await self._dial_now(prelude, left, start)
        line.acquire_time = time.monotonic() - start
        self._end_pauses()
        return line

    async def dial(self, prelude: str, *, limit: float, since: float | None = None) -> Line:
        """A new connection with this configuration.

        Args:
            prelude: The configuration.
            limit: Seconds to wait for it.
            since: When a cold start began to be waited for; now when None.

        Raises:
            APIError: it couldn't be opened.
        """
        ws = await self._dial(limit, time.monotonic() if since is None else since)
        if prelude:
            try:
                await ws.send(prelude, timeout=limit)
            except BaseException:
                ws.abort()
                raise
        return Line(ws, prelude, since=time.monotonic())

    async def _dial_now(self, prelude: str, limit: float, since: float) -> Line:
        dialling = asyncio.create_task(self.dial(prelude, limit=limit, since=since))
        try:
            return await asyncio.shield(dialling)
        except asyncio.CancelledError:
            if self._wanted():
                # Half a handshake is half the way for the next utterance.
                self._tasks.add(dialling)
                dialling.add_done_callback(self._tasks.discard)
                self._start_filling(self._adopt(dialling))
            else:
                dialling.cancel()
            raise

    async def _adopt(self, dialling: asyncio.Task[Line]) -> None:
        with self._announced(), contextlib.suppress(APIError):
            self._park(await dialling)

    def give_back(self, line: Line) -> None:
        """Return a connection whose utterance is complete and that may take another."""
        line.uses += 1
        line.owed = 0
        if line.uses > 1:
            self.one_shot = False
        elif line.ws.closed:
            self.one_shot = True
        on_trial = self.one_shot is None and any(other.uses for other in self._idle)  # one will do
        if self._closed or not self._number or self.one_shot or line.worn or on_trial:
            self._spawn(line.say_goodbye())
        else:
            self._park(line)

    def renew(self) -> None:
        """Replace what is waiting, since the configuration has changed."""
        if not self._keep_alive:
            return
        had = bool(self._idle or self._filling)
        self._current = None
        self._drop_all()
        if had:
            with contextlib.suppress(RuntimeError):
                self.warm()

    async def aclose(self) -> None:
        """Close all connections; takes a second at most."""
        self._closed = True
        waits = [asyncio.ensure_future(line.ws.wait_closed()) for line in self._idle]
        if under_way := [*self._cancel_all(), *waits]:
            await asyncio.wait(under_way, timeout=1.0)
        for wait in waits:
            wait.cancel()

    def abandon(self) -> None:
        """Close all connections without a wait. May be called from any thread."""
        self._closed = True
        if self._loop and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._cancel_all)

    def _cancel_all(self) -> list[asyncio.Future[Any]]:
        tasks = [*self._tasks, *self._filling]
        self._drop_all()
        for task in tasks:
            task.cancel()
        return tasks

    def _drop_all(self) -> None:
        for line in self._idle[:]:
            self._remove(line)
            line.ws.abort()
        for task in self._filling:
            task.cancel()
        self._filling.clear()

    def _pop(self, prelude: str) -> Line | None:
        for line in self._idle[:]:
            if line.worn or line.prelude not in (prelude, self._current):
                self._remove(line)
                line.ws.abort()
        fitting = [line for line in self._idle if line.prelude == prelude]
        if not fitting:
            return None
        # Until a server has shown that it takes a second utterance, a fresh socket is surer.
        fresh = [line for line in fitting if not line.uses]
        line = fresh[-1] if fresh and self.one_shot is not False else fitting[-1]
        self._remove(line)
        line.reused = True
        return line

    def _remove(self, line: Line) -> None:
        if line in self._idle:
            self._idle.remove(line)
        if line.watcher:
            line.watcher.cancel()
            line.watcher = None

    def _park(self, line: Line) -> None:
        if self._current not in (None, line.prelude):
            self._spawn(line.say_goodbye())  # the options have changed since it was dialled
            return
        self._idle.append(line)
        line.watcher = self._spawn(self._watch(line))
        self._trim()

    def _trim(self) -> None:
        # While it is unknown whether a used socket lives on, it waits beside a fresh one.
        trial = self.one_shot is None and any(line.uses for line in self._idle)
        for surplus in self._idle[: -(self._number + trial)]:
            self._remove(surplus)
            self._spawn(surplus.say_goodbye())

    def _fill(self, *, pause: float = 0.0) -> None:
        missing = self._number - len(self._idle) - sum(not task.done() for task in self._filling)
        for _ in range(missing):
            self._start_filling(self._dial_ahead(pause))

    def _start_filling(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="baseten.warm")
        self._filling.add(task)
        task.add_done_callback(self._filling.discard)

    def _end_pauses(self) -> None:
        # The server answers, so what waits to try again needn't wait any longer.
        self._early_deaths = 0
        if not self._under_way:
            for task in self._filling:
                task.cancel()
            self._filling.clear()

    async def _dial_ahead(self, pause: float) -> None:
        while not self._closed:
            if pause:
                await asyncio.sleep(pause)
            left = self._until - time.monotonic()
            if left <= 0 or self._using is None or self._using.closed:
                return  # LiveKit would make a new session in its place, that nobody closes
            try:
                with self._announced():
                    prelude = self._current = await self._prelude()
                    self._park(await self.dial(prelude, limit=min(_LIMIT, left)))
                return
            except (APIError, RuntimeError, OSError, TypeError, ValueError) as e:
                logger.debug("dialling ahead failed: %s", type(e).__name__)
                if not (isinstance(e, APIError) and e.retryable):
                    return  # the next utterance dials and reports
            pause = self._next_pause()

    @contextlib.contextmanager
    def _announced(self) -> Iterator[None]:
        """A handshake that a taker may wait for."""
        handshake = asyncio.get_running_loop().create_future()
        self._under_way.add(handshake)
        try:
            yield
        finally:
            self._under_way.discard(handshake)
            handshake.set_result(None)

    def _next_pause(self) -> float:
        self._early_deaths += 1
        return float(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (self._early_deaths - 1)))

    async def _watch(self, line: Line) -> None:
        parked = time.monotonic()
        closed: Closed | None = None
        try:
            closed = await self._wait_idle(line)
        except APIError:
            closed = line.ws.closed or Closed(1006)
        finally:
            # Cancelled by whoever takes the line, which is then theirs.
            if closed is not None or line.ws.closed:
                line.watcher = None
                self._remove(line)
        line.ws.abort()
        if closed is None:
            return
        if line.uses == 1 and time.monotonic() - parked < _SOON:
            self.one_shot = True
        young = time.monotonic() - line.since < _YOUNG and not line.uses
        if not young:
            self._early_deaths = 0
        if not self._closed and self._until > time.monotonic():
            self._fill(pause=self._next_pause() if young else 0.0)

    async def _wait_idle(self, line: Line) -> Closed | None:
        """Wait until the line dies, or return None when it has waited long enough."""
        asked = -_SOON
        if line.uses and self.one_shot is None:
            try:
                message = await line.ws.receive(timeout=_SOON)
            except APITimeoutError:
                self.one_shot = False
                self._trim()
            else:
                if isinstance(message, Closed):
                    return message
        while (left := self._until - time.monotonic()) > 0:
            alive = self._keep_alive
            if alive is None or not line.prelude:
                with contextlib.suppress(asyncio.TimeoutError):
                    async with timeout(left):
                        return await line.ws.wait_closed()
                continue
            if self.one_shot:
                left = min(left, line.since + _ONE_SHOT_LIFE - time.monotonic())
                if left <= 0:
                    return Closed(1000, "waited long enough for this server")
            else:
                left = min(left, alive.interval)
            try:
                message = await line.ws.receive(timeout=left)
            except APITimeoutError:
                if self.one_shot:
                    continue
                if line.owed:
                    return Closed(1006, "no sign of life")
                await line.ws.send(alive.message)
                line.owed += 1
                asked = time.monotonic()
                continue
            if isinstance(message, Closed):
                if time.monotonic() - asked < _SOON and not line.uses:
                    self.one_shot = True  # it took the sign of life for an utterance
                return message
            kind = kind_of(message)
            if kind == alive.answer:
                line.owed = max(0, line.owed - 1)
            elif kind == "error":
                return Closed(1006, "refused while idle")
        self._remove(line)
        return None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="baseten.warm")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
