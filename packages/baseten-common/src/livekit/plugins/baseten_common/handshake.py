"""What aiohttp keeps to itself about a WebSocket's handshake.

It drops the body of a refusal unread, follows redirects, doesn't tell a line that can't be had from
an answer that is late, nor whether what was sent is out yet. All of that can be mended from its tracing, which sees every request of
the session and acts on our handshakes alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextvars import ContextVar

import aiohttp

from . import errors
from .cold_start import ColdStart
from .deadlines import Timeout, extend, timeout as deadline

__all__ = ["Handshake", "error_body"]

_MAX_ERROR_BODY = 64 * 2**10
_LONGEST_SILENCE = 30.0  # seconds; a line that died on the way is as silent as a parked request

_current: ContextVar[Handshake | None] = ContextVar("baseten_handshake", default=None)


class Handshake:
    """One handshake.

    Attributes:
        parked: Whether the request went out and has the time of a cold start for its answer.
        body: What the server said when it refused.
        request_id: Baseten's id of the request.
        transport: What the WebSocket writes to.
    """

    def __init__(self, timeout: float, cold_start: ColdStart) -> None:
        """Note the bounds; nothing happens yet.

        Args:
            timeout: Seconds until the request is out, and for the whole unless a cold start is
                waited for.
            cold_start: How long the deployment is waited for.
        """
        self.parked = False
        self.body = b""
        self.request_id: str | None = None
        self.transport: asyncio.WriteTransport | None = None
        self._timeout = timeout
        self._cold_start = cold_start
        self._limit: Timeout | None = None
        self._until = 0.0

    @contextlib.asynccontextmanager
    async def bounded(self, session: aiohttp.ClientSession) -> AsyncIterator[None]:
        """Watch and bound the handshake that a session makes within.

        Raises:
            asyncio.TimeoutError: it took too long.
        """
        if _trace not in session.trace_configs:
            session.trace_configs.append(_trace)
        token = _current.set(self)
        self._until = asyncio.get_running_loop().time() + self._timeout
        try:
            async with deadline(self._timeout) as self._limit:
                yield
        finally:
            self._cold_start.answered()
            _current.reset(token)
            # What aiohttp started within keeps the context variable, which mustn't lead to the task.
            self._limit = None

    def sent(self) -> None:
        """Give the answer its time, now that the line is good and the request is out.

        Another try follows when it is over, while a cold start is still waited for.
        """
        if self._cold_start.seconds and self._limit is not None:
            self.parked = True
            self._cold_start.parked()
            now = asyncio.get_running_loop().time()
            silence = min(self._cold_start.left, max(self._timeout, _LONGEST_SILENCE))
            extend(self._limit, max(self._until, now + silence))


async def error_body(response: aiohttp.ClientResponse, *, within: float | None = None) -> bytes:
    """The body of a refusal, up to 64 KiB and as far as it can be had.

    Args:
        response: The refusal.
        within: Seconds for all of it; None when another limit holds.
    """
    body = b""
    with contextlib.suppress(aiohttp.ClientError, asyncio.TimeoutError, OSError):
        async with deadline(within):
            while len(body) < _MAX_ERROR_BODY:
                part = await response.content.read(_MAX_ERROR_BODY - len(body))
                if not part:
                    break
                body += part
    return body


async def _on_request_headers_sent(
    session: aiohttp.ClientSession, context: object, params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    handshake = _current.get()
    if handshake is not None:
        handshake.sent()


async def _on_request_end(
    session: aiohttp.ClientSession, context: object, params: aiohttp.TraceRequestEndParams
) -> None:
    handshake = _current.get()
    if handshake is None:
        return
    handshake.request_id = errors.request_id(params.response.headers)
    if params.response.status != 101:
        handshake.body = await error_body(params.response)
    elif params.response.connection is not None:
        handshake.transport = params.response.connection.transport


async def _on_request_redirect(
    session: aiohttp.ClientSession, context: object, params: aiohttp.TraceRequestRedirectParams
) -> None:
    if _current.get() is not None:
        raise errors.from_status(
            params.response.status, what="connecting", headers=params.response.headers
        )


_trace = aiohttp.TraceConfig()
_trace.on_request_headers_sent.append(_on_request_headers_sent)
_trace.on_request_end.append(_on_request_end)
_trace.on_request_redirect.append(_on_request_redirect)
_trace.freeze()
