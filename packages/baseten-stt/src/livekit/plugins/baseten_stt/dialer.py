"""Connections, dialled when they are needed or ahead of it."""

from __future__ import annotations

import asyncio
import time
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

    async def _dial(self, timeout: float, dead_after: float, cold_start: float) -> WebSocket:
        return await self._transport.connect(
            self.endpoint,
            what=WHAT,
            timeout=timeout,
            # A peer is taken for dead 1.5 intervals after the last sign of life.
            heartbeat=dead_after / 2,
            cold_start_timeout=cold_start,
        )

    async def dial(self, *, timeout: float, dead_after: float, cold_start: float) -> Connection:
        """A connection: the one dialled ahead if it is still good, else a new one.

        Args:
            timeout: Seconds for each try.
            dead_after: Seconds within which a dead connection must be noticed.
            cold_start: Seconds to wait for a deployment that is starting.

        Raises:
            APIError: there is none to be had.
        """
        warm, self._warm = self._warm, None
        if warm is not None and warm.get_loop() is asyncio.get_running_loop():
            # shield: giving up this stream must not look like a failure to the dialling.
            ws = await asyncio.shield(warm)
            self._forget_expiry()
            if ws is not None and not ws.closed:
                return Connection(ws, self._warmed, reused=True)
        opened = time.monotonic()
        ws = await self._dial(timeout, dead_after, cold_start)
        return Connection(ws, opened, reused=False)

    def warm(self, *, timeout: float, dead_after: float) -> None:
        """Dial ahead, once; the connection is kept for a minute. Failure is only logged.

        Raises:
            RuntimeError: no event loop is running.
        """
        loop = asyncio.get_running_loop()
        if self._warm is not None:
            return
        self._warmed = time.monotonic()
        self._warm = loop.create_task(
            _quietly(self._dial(timeout, dead_after, 0.0)), name="baseten.stt.prewarm"
        )
        self._expiry = loop.call_later(_KEPT, _drop, self._warm)

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


def _drop(warm: asyncio.Task[WebSocket | None]) -> None:
    if not warm.done():
        warm.cancel()
    elif not warm.cancelled() and (ws := warm.result()) is not None:
        ws.abort()
