"""Connections opened ahead for whatever is sent next: TCP and TLS, and not a byte of HTTP.

To Baseten they cost nothing: no request is on them, so no replica is taken up.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from types import SimpleNamespace

import aiohttp
from aiohttp.tracing import Trace

from livekit.plugins.baseten_common import timeout

from .log import logger

__all__ = ["SpareConnections"]

_LIMIT = 10.0  # seconds to connect
_AFTER_USE = 0.005  # seconds: what was sent on the one that is used goes first
_INTERVAL = 10.0  # below the 15 s for which aiohttp keeps an idle connection by default


class SpareConnections:
    """Keeps idle connections in the session's pool, where a request or a WebSocket finds them.

    They belong to the session, and are closed by it or by the server in time.
    """

    def __init__(
        self,
        *,
        session: Callable[[], aiohttp.ClientSession],
        url: str,
        number: int = 1,
        lifetime: float,
    ) -> None:
        """Nothing is opened yet.

        Args:
            session: Gives the session that sends the requests.
            url: Where they go.
            number: How many to keep.
            lifetime: Seconds after the last use for which they are kept; 0 keeps none.
        """
        self._session = session
        self._using: aiohttp.ClientSession | None = None
        self._url = url
        self._number = number
        self._lifetime = lifetime
        self._until = 0.0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._dialling: set[object] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def warm(self) -> None:
        """See to it from now on, in the background. Never fails and never waits."""
        if self._closed or not self._lifetime:
            return
        loop = asyncio.get_running_loop()
        try:
            self._using = self._session()
        except RuntimeError as e:
            logger.debug("connecting ahead isn't possible: %s", type(e).__name__)
            return
        self._until = time.monotonic() + self._lifetime
        if self._task is None or self._task.done() or self._loop is not loop:
            self._loop = loop
            self._wanted = asyncio.Event()
            self._opening = set()
            self._dialling = set()
            self._task = loop.create_task(self._keep(), name="baseten.warm")

    def replace(self) -> None:
        """One is taken or may be lost: open another in a moment, if any are being kept."""
        if self._task is not None and not self._task.done():
            asyncio.get_running_loop().call_later(_AFTER_USE, self._wanted.set)

    async def aclose(self) -> None:
        """Stop."""
        self._closed = True
        if tasks := self._cancel():
            await asyncio.wait(tasks, timeout=1.0)

    def abandon(self) -> None:
        """Stop without a wait. May be called from any thread."""
        self._closed = True
        if self._loop and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> list[asyncio.Task[None]]:
        tasks = [*self._opening, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        return tasks

    async def _keep(self) -> None:
        while (left := self._until - time.monotonic()) > 0:
            self._wanted.clear()
            self._start()
            with contextlib.suppress(asyncio.TimeoutError):
                async with timeout(min(left, _INTERVAL)):
                    await self._wanted.wait()

    def _start(self) -> None:
        task = asyncio.create_task(self._open(), name="baseten.warm")
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        """Open a connection and leave it in the pool, unless enough are there."""
        session = self._using
        if session is None or session.closed:  # LiveKit would make a new one, that nobody closes
            self._until = 0.0
            return
        try:
            async with timeout(_LIMIT):
                response = await session.get(self._url, middlewares=(self._connect,))
                response.close()
        except _Connected:
            pass
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, RuntimeError) as e:
            logger.debug("connecting ahead failed: %s", type(e).__name__)
            self._until = 0.0  # the next utterance connects and reports
            self._wanted.set()

    async def _connect(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        connector = request.session.connector
        if connector is None or connector.force_close:
            raise RuntimeError("the session keeps no connections")
        idle: list[aiohttp.connector.Connection] = []
        dialling, mine = self._dialling, object()

        async def none_is_left(*_: object) -> None:
            if mine not in dialling:
                dialling.add(mine)
                _release(idle)
                self._start()  # perhaps more than one is missing

        config = aiohttp.TraceConfig()
        config.on_connection_create_start.append(none_is_left)
        config.on_connection_queued_start.append(none_is_left)
        config.freeze()
        watch = Trace(request.session, config, SimpleNamespace())
        limits = aiohttp.ClientTimeout(connect=_LIMIT, sock_connect=_LIMIT)
        try:
            # What is idle is counted by taking it. It is back before this waits for anything, so
            # that nobody ever finds it gone.
            while mine not in dialling and len(idle) + len(dialling) < self._number:
                idle.append(await connector.connect(request, traces=[watch], timeout=limits))
        finally:
            dialling.discard(mine)
            _release(idle)
        raise _Connected


class _Connected(Exception):
    pass


def _release(connections: list[aiohttp.connector.Connection]) -> None:
    while connections:
        connections.pop(0).release()
