"""Connections opened ahead for whatever is sent next: TCP and TLS, and not a byte of HTTP.

To Baseten they cost nothing: no request is on them, so no replica is taken up.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable

import aiohttp

from livekit.plugins.baseten_common import timeout

from .log import logger

__all__ = ["SpareConnections"]

_LIMIT = 10.0  # seconds to connect
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
        self._url = url
        self._number = number
        self._lifetime = lifetime
        self._until = 0.0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def warm(self) -> None:
        """See to it, in the background. Never fails and never waits."""
        if self._closed or not self._lifetime:
            return
        loop = asyncio.get_running_loop()
        self._until = time.monotonic() + self._lifetime
        if self._task is None or self._task.done() or self._loop is not loop:
            self._loop = loop
            self._wanted = asyncio.Event()
            self._opening = set()
            self._task = loop.create_task(self._keep(), name="baseten.warm")
        self._wanted.set()

    def hurry(self) -> None:
        """Replace what was used now rather than soon, if any are being kept. Starts nothing."""
        self._wanted.set()

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
            for _ in range(self._number - len(self._opening)):
                task = asyncio.create_task(self._open(), name="baseten.warm")
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)
            with contextlib.suppress(asyncio.TimeoutError):
                async with timeout(min(left, _INTERVAL)):
                    await self._wanted.wait()

    async def _open(self) -> None:
        """Take an idle connection, or open one, and leave it in the pool."""
        try:
            async with timeout(_LIMIT):
                only_connect = functools.partial(_only_connect, among=self._number)
                response = await self._session().get(self._url, middlewares=(only_connect,))
                response.close()
        except _Connected:
            pass
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, RuntimeError) as e:
            logger.debug("connecting ahead failed: %s", type(e).__name__)
            self._until = 0.0  # the next utterance connects and reports
            self._wanted.set()


class _Connected(Exception):
    pass


async def _only_connect(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType, *, among: int
) -> aiohttp.ClientResponse:
    connector = request.session.connector
    if connector is None or connector.force_close:
        raise RuntimeError("the session keeps no connections")
    limits = aiohttp.ClientTimeout(connect=_LIMIT, sock_connect=_LIMIT)
    connection = await connector.connect(request, traces=[], timeout=limits)
    try:
        if among > 1:
            # Out of the pool for one turn of the loop, so that each who looks finds another.
            await asyncio.sleep(0)
    finally:
        connection.release()
    raise _Connected
