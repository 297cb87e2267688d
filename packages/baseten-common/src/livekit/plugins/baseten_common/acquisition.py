"""How long a request waits for its connection, which aiohttp tells nobody but its tracing."""

from __future__ import annotations

import time
from types import SimpleNamespace

import aiohttp

__all__ = ["Acquisition"]


class Acquisition:
    """The connection of one request; given to it as ``trace_request_ctx``.

    Attributes:
        seconds: How long the request waited for it.
        reused: Whether it was open already.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Begin to wait for one of this session's."""
        if _trace not in session.trace_configs:
            session.trace_configs.append(_trace)
        self.seconds = 0.0
        self.reused = False
        self._since = time.perf_counter()

    def _acquired(self, *, reused: bool) -> None:
        self.seconds = time.perf_counter() - self._since
        self.reused = reused


async def _on_reused(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: object
) -> None:
    if isinstance(context.trace_request_ctx, Acquisition):
        context.trace_request_ctx._acquired(reused=True)


async def _on_created(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: object
) -> None:
    if isinstance(context.trace_request_ctx, Acquisition):
        context.trace_request_ctx._acquired(reused=False)


_trace = aiohttp.TraceConfig()
_trace.on_connection_reuseconn.append(_on_reused)
_trace.on_connection_create_end.append(_on_created)
_trace.freeze()
