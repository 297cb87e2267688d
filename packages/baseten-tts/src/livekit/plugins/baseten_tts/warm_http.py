"""A connection for the next request, opened ahead: TCP and TLS, and not a byte of HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import aiohttp

from livekit.plugins.baseten_common import timeout

from .log import logger

__all__ = ["WarmConnection"]

_LIMIT = 10.0  # seconds to connect
_INTERVAL = 10.0  # below the 15 s for which aiohttp keeps an idle connection by default


class WarmConnection:
    """Keeps an idle connection in the session's pool.

    Idle connections belong to the session, and are closed by it or by the server in time.
    """

    def __init__(
        self, *, session: Callable[[], aiohttp.ClientSession], url: str, lifetime: float
    ) -> None:
        """Nothing is opened yet.

        Args:
            session: Gives the session that sends the requests.
            url: Where they go.
            lifetime: Seconds after the last use for which a connection is kept.
        """
        self._session = session
        self._url = url
        self._lifetime = lifetime
        self._until = 0.0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
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
            self._task = loop.create_task(self._keep(), name="baseten.warm")
        self._wanted.set()

    def hurry(self) -> None:
        """Open one now rather than soon, if any are being kept. Starts nothing."""
        self._wanted.set()

    async def aclose(self) -> None:
        """Stop."""
        self._closed = True
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)

    def abandon(self) -> None:
        """Stop without a wait. May be called from any thread."""
        self._closed = True
        if self._task and self._loop and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def _keep(self) -> None:
        while (left := self._until - time.monotonic()) > 0:
            self._wanted.clear()
            try:
                await self._open()
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError, RuntimeError) as e:
                logger.debug("connecting ahead failed: %s", type(e).__name__)
                return  # the next utterance connects and reports
            with contextlib.suppress(asyncio.TimeoutError):
                async with timeout(min(left, _INTERVAL)):
                    await self._wanted.wait()

    async def _open(self) -> None:
        with contextlib.suppress(_Opened):
            async with timeout(_LIMIT):
                response = await self._session().post(self._url, middlewares=(_open_only,))
                response.close()


class _Opened(Exception):
    pass


async def _open_only(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    connector = request.session.connector
    if connector is None or connector.force_close:
        raise RuntimeError("the session keeps no connections")
    limits = aiohttp.ClientTimeout(connect=_LIMIT, sock_connect=_LIMIT)
    connection = await connector.connect(request, traces=[], timeout=limits)
    connection.release()
    raise _Opened
