"""Connections, dialled when they are needed or ahead of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
import weakref
from dataclasses import dataclass

from livekit.agents import APIError
from livekit.plugins.baseten_common import Endpoint, Transport, WebSocket

from .log import logger
from .protocols.transcription import WHAT

__all__ = ["Connection", "Dialer"]

_KEPT = 60.0  # seconds; an idle connection occupies a replica


@dataclass(frozen=True)
class Connection:
    """A WebSocket that nothing was sent on yet.

    Attributes:
        ws: The WebSocket.
        opened: When it was dialled, by the monotonic clock.
        reused: Whether it had been dialled ahead.
    """

    ws: WebSocket
    opened: float
    reused: bool


class Dialer:
    """Opens the connections of one STT object and its streams."""

    def __init__(self, transport: Transport, endpoint: Endpoint) -> None:
        """Dial nothing yet."""
        self.endpoint = endpoint
        self._transport = transport
        self._warm: asyncio.Task[WebSocket | None] | None = None
        self._warmed = 0.0
        self._expiry: asyncio.TimerHandle | None = None

    async def dial(
        self, *, timeout: float, dead_after: float, cold_start: float, since: float
    ) -> Connection:
        """A connection: the one dialled ahead if it is still good, else a new one.

        Args:
            timeout: Seconds for each try; see :meth:`.Transport.connect`.
            dead_after: Seconds within which a dead connection must be noticed.
            cold_start: Seconds to wait for a deployment that is starting.
            since: When that wait began, by the monotonic clock.

        Raises:
            APIError: there is none to be had.
        """
        warm, self._warm = self._warm, None
        if warm is not None and warm.get_loop() is asyncio.get_running_loop():
            # It is this caller's from here on, and given up with it.
            ws = await warm
            self._forget_expiry()
            if ws is not None and not ws.closed:
                return Connection(ws, self._warmed, reused=True)
        opened = time.monotonic()
        ws = await _connect(
            self._transport, self.endpoint, timeout, dead_after, cold_start, since=since
        )
        return Connection(ws, opened, reused=False)

    def warm(self, *, timeout: float, dead_after: float, cold_start: float) -> None:
        """Dial ahead, once; the connection is kept for a minute. Failure is only logged.

        Raises:
            RuntimeError: no event loop is running.
        """
        loop = asyncio.get_running_loop()
        if self._warm is not None:
            return
        self._warmed = time.monotonic()
        dialling = _connect(self._transport, self.endpoint, timeout, dead_after, cold_start)
        self._warm = loop.create_task(_quietly(dialling), name="baseten.stt.prewarm")
        # The loop holds what it waits for, but that mustn't keep this object from being dropped.
        self._warm.add_done_callback(functools.partial(_keep, weakref.ref(self)))

    async def aclose(self) -> None:
        """Close the connection that was dialled ahead."""
        warm, self._warm = self._warm, None
        self._forget_expiry()
        if warm is not None:
            _drop(warm)
            await asyncio.wait([warm])

    def _forget_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def __del__(self) -> None:
        # A socket is closed with its last reference; the timer holds one.
        self._forget_expiry()
        if self._warm is not None and not self._warm.done():
            # May run on any thread, and after the loop's end.
            with contextlib.suppress(RuntimeError):
                self._warm.get_loop().call_soon_threadsafe(self._warm.cancel)


async def _connect(
    transport: Transport,
    endpoint: Endpoint,
    timeout: float,
    dead_after: float,
    cold_start: float,
    *,
    since: float | None = None,
) -> WebSocket:
    return await transport.connect(
        endpoint,
        what=WHAT,
        timeout=timeout,
        # A peer is taken for dead 1.5 intervals after the last sign of life.
        heartbeat=dead_after / 2,
        cold_start_timeout=cold_start,
        since=since,
    )


async def _quietly(dialling: object) -> WebSocket | None:
    try:
        ws: WebSocket = await dialling  # type: ignore[misc]
    except APIError as e:
        logger.warning("connecting ahead failed, the stream will try again: %s", e)
        return None
    except RuntimeError as e:
        logger.warning("connecting ahead isn't possible here: %s", e)
        return None
    return ws


def _keep(ref: weakref.ref[Dialer], warm: asyncio.Task[WebSocket | None]) -> None:
    dialer = ref()
    if dialer is not None and dialer._warm is warm:
        dialer._expiry = warm.get_loop().call_later(_KEPT, _drop, warm)


def _drop(warm: asyncio.Task[WebSocket | None]) -> None:
    if not warm.done():
        warm.cancel()
    elif not warm.cancelled() and (ws := warm.result()) is not None:
        ws.abort()
