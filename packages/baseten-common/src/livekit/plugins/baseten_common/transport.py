from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from livekit.agents import APIError, utils

from . import errors
from .acquisition import Acquisition
from .cold_start import ColdStart
from .credentials import ApiKey, AuthScheme
from .deadlines import within
from .endpoints import Endpoint
from .handshake import Handshake, error_body
from .http_stream import HTTPStream
from .websocket import WebSocket

__all__ = ["Transport"]

_MAX_MESSAGE = 16 * 2**20
_COLD_START_PAUSE = 1.0


class Transport:
    """Sends requests to Baseten over LiveKit's shared HTTP session, or the one handed in.

    TLS is verified by that session, which honours ``SSL_CERT_FILE``, ``SSL_CERT_DIR`` and the
    worker's proxy. The session is never closed here. Redirects are refused, since they would carry
    a caller's words to another host.
    """

    def __init__(
        self,
        *,
        api_key: ApiKey,
        auth_scheme: AuthScheme = "Bearer",
        http_session: aiohttp.ClientSession | None = None,
    ) -> None:
        """Keep what requests need; nothing is dialled.

        Args:
            api_key: The key that goes into the header of each request.
            auth_scheme: How the key is presented.
            http_session: Session to use in place of LiveKit's.

        Raises:
            ValueError: the scheme isn't one that Baseten knows.
        """
        self.api_key = api_key
        self._headers = api_key.headers(auth_scheme)
        self._session = http_session
        self._answering: dict[tuple[str, ...], str] = {}

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session: the one handed in, else the job's.

        Raises:
            RuntimeError: outside a job, without a session handed in.
        """
        return self._session or utils.http_context.http_session()

    async def connect(
        self,
        endpoint: Endpoint,
        *,
        what: str,
        timeout: float,
        heartbeat: float | None = 10.0,
        cold_start_timeout: float = 0.0,
        since: float | None = None,
    ) -> WebSocket:
        """Open a WebSocket.

        A chain has two paths in use; the one that answers is remembered.

        Args:
            endpoint: Where to.
            what: What is being done, as the start of error messages.
            timeout: Seconds for each try, DNS, TCP, TLS and handshake together.
            heartbeat: Seconds between pings. A peer that answers none is taken for dead after
                1.5 times that. None sends no pings.
            cold_start_timeout: Seconds to wait for a deployment that is starting, all tries
                together. Then a try whose request has gone out may last 30 s or ``timeout``, the
                longer of the two, since Baseten says nothing until a replica is up; ``timeout``
                bounds what comes before that. 0 leaves waiting to LiveKit's retries.
            since: When the waiting for this deployment began, by the monotonic clock, so that
                several calls share the time; now when None.

        Raises:
            APIError: as the table in :mod:`.errors` has it.
        """
        urls = endpoint.websocket_urls()
        cold_start = ColdStart(what, cold_start_timeout, since=since)
        while True:
            dialled = await self._dial_any(urls, what, timeout, heartbeat, cold_start)
            if isinstance(dialled, WebSocket):
                return dialled
            error = dialled.error
            if not dialled.starting or cold_start.left < _COLD_START_PAUSE:
                if dialled.starting and cold_start.seconds:
                    error = errors.not_started(what, cold_start.seconds, error)
                try:
                    raise error
                finally:
                    del dialled, error
            cold_start.refused()
            await asyncio.sleep(_COLD_START_PAUSE)

    async def _dial_any(
        self,
        urls: tuple[str, ...],
        what: str,
        timeout: float,
        heartbeat: float | None,
        cold_start: ColdStart,
    ) -> WebSocket | _Refused:
        known = self._answering.get(urls)
        first, *others = (known,) if known else urls
        dialled = refused = await self._dial(first, what, timeout, heartbeat, cold_start)
        if isinstance(refused, _Refused) and refused.status in (400, 404) and others:
            dialled = await self._dial(others[0], what, timeout, heartbeat, cold_start)
        if isinstance(dialled, WebSocket):
            self._answering[urls] = dialled.url
            return dialled
        return refused  # the documented path's answer is the one that tells

    async def _dial(
        self,
        url: str,
        what: str,
        timeout: float,
        heartbeat: float | None,
        cold_start: ColdStart,
    ) -> WebSocket | _Refused:
        start = time.perf_counter()
        session = self.session
        # Raised outside of the handlers, so that aiohttp's exception isn't even the context.
        failure: APIError
        handshake = Handshake(timeout, cold_start)
        try:
            async with handshake.bounded(session):
                ws = await session.ws_connect(
                    url,
                    headers=self._headers,
                    heartbeat=heartbeat,
                    max_msg_size=_MAX_MESSAGE,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
        except asyncio.TimeoutError:
            failure = errors.timed_out(f"{what}: connecting", timeout)
            if handshake.parked:
                if (
                    cold_start.left
                ):  # the line may be dead, or a limit of the session's owner came first
                    return _Refused(0, True, failure)
                failure = errors.not_started(f"{what}: connecting", cold_start.seconds)
        except Exception as e:
            failure = errors.from_exception(e, what=what, body=handshake.body, key=self.api_key)
            if isinstance(e, aiohttp.ClientResponseError):
                parked = time.perf_counter() - start > timeout
                starting = errors.is_cold_start(e.status, handshake.body, parked=parked)
                return _Refused(e.status, starting, failure)
        else:
            return WebSocket(
                ws,
                url=url,
                what=what,
                key=self.api_key,
                request_id=handshake.request_id,
                acquire_time=time.perf_counter() - start,
                transport=handshake.transport,
            )
        try:
            raise failure
        finally:
            del failure  # its traceback holds this frame

    @contextlib.asynccontextmanager
    async def post(
        self,
        url: str,
        *,
        json: Mapping[str, Any],
        what: str,
        timeout: float,
        read_timeout: float | None = None,
        cold_start_timeout: float = 0.0,
        due: asyncio.Future[None] | None = None,
    ) -> AsyncIterator[HTTPStream]:
        """Post JSON and hand out the answer as it streams in.

        There is no limit on the whole, so a long healthy answer isn't cut; one that trickles is,
        since it may go on for ever.

        Args:
            url: Where to.
            json: The body.
            what: What is being done, as the start of error messages.
            timeout: Seconds to connect.
            read_timeout: Seconds until the answer's head and between any two parts of its body,
                and by which the body may fall behind 1 KiB a second; the same as ``timeout`` when
                None.
            cold_start_timeout: Seconds to wait for a deployment that is starting, all tries
                together: while it says nothing, and while it refuses as not ready. 0 leaves
                waiting to LiveKit's retries.
            due: Done when the answer is needed, so that its silence until then is no fault; at
                once when None.

        Raises:
            APIError: as the table in :mod:`.errors` has it, for any status but 2xx too.
        """
        read_timeout = timeout if read_timeout is None else read_timeout
        cold_start = ColdStart(what, cold_start_timeout)
        while True:
            began = time.monotonic()
            if due is not None and due.done():
                due = None
            silence = max(read_timeout, cold_start.left)
            limits = aiohttp.ClientTimeout(
                total=None,
                connect=timeout,
                sock_connect=timeout,
                sock_read=None if due else silence,
            )
            connection = Acquisition(self.session)
            response = await self._post(
                url, json, what, limits, cold_start, due, silence, connection
            )
            try:
                if 200 <= response.status < 300:
                    yield HTTPStream(
                        response,
                        what=what,
                        key=self.api_key,
                        read_timeout=read_timeout,
                        timed=not cold_start.seconds and due is None,
                        due=due,
                        connection=connection,
                    )
                    return
                body = await error_body(response, within=read_timeout)
                error = errors.from_status(
                    response.status,
                    what=what,
                    body=body,
                    headers=response.headers,
                    key=self.api_key,
                )
                parked = time.monotonic() - began > read_timeout
                starting = errors.is_cold_start(response.status, body, parked=parked)
            finally:
                response.close()
            if not starting or not cold_start.seconds:
                raise error
            if cold_start.left < _COLD_START_PAUSE:
                raise errors.not_started(what, cold_start.seconds, error)
            cold_start.refused()
            await asyncio.sleep(_COLD_START_PAUSE)

    async def _post(
        self,
        url: str,
        json: Mapping[str, Any],
        what: str,
        limits: aiohttp.ClientTimeout,
        cold_start: ColdStart,
        due: asyncio.Future[None] | None,
        silence: float,
        connection: Acquisition,
    ) -> aiohttp.ClientResponse:
        failure: APIError
        if cold_start.seconds:
            cold_start.parked()
        try:
            posted = self.session.post(
                url,
                json=json,
                headers=self._headers,
                timeout=limits,
                allow_redirects=False,
                raise_for_status=False,
                trace_request_ctx=connection,
            )
            return await within(silence if due else None, posted, due=due)
        except Exception as e:
            failure = errors.from_exception(e, what=what, key=self.api_key)
            connecting = isinstance(e, aiohttp.ConnectionTimeoutError)
            if cold_start.seconds and isinstance(e, asyncio.TimeoutError) and not connecting:
                failure = errors.not_started(what, cold_start.seconds)
        finally:
            cold_start.answered()
        try:
            raise failure
        finally:
            del failure

    async def wake(self, endpoint: Endpoint, *, timeout: float = 10.0) -> None:
        """Ask Baseten to start a deployment that was scaled to zero. Returns before it is up.

        Raises:
            APIError: the request failed.
            ValueError: the endpoint is a custom URL, of which no ``wake`` is known.
        """
        url = endpoint.route("wake")
        async with self.post(url, json={}, what="waking the deployment", timeout=timeout):
            pass


@dataclass
class _Refused:
    """A handshake that wasn't answered with 101, though the line is good."""

    status: int
    starting: bool
    error: APIError
