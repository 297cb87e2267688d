"""The next connection, dialled while the present one goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from livekit.agents import APIError

from .dialer import Connection
from .log import logger

__all__ = ["Handover"]

_AGAIN = 5.0  # seconds until a failed connection is tried again


class Handover:
    """When to go over to another connection, and the connection itself."""

    def __init__(self, dial: Callable[[], Awaitable[Connection]]) -> None:
        """Want none yet.

        Args:
            dial: Opens a connection.
        """
        self._dial = dial
        self._since: float | None = None
        self._not_before = 0.0
        self._task: asyncio.Task[Connection] | None = None

    @property
    def wanted(self) -> bool:
        """Whether another connection is wanted."""
        return self._since is not None

    def want(self) -> None:
        """Ask for another connection, at the next pause in speech."""
        if self._since is None:
            self._since = time.monotonic()
            self._not_before = 0.0

    def forget(self) -> None:
        """Want none any more."""
        self._since = None

    def ready(self, *, speaking: bool, patience: float) -> Connection | None:
        """The next connection, if this is the moment to go over to it.

        Args:
            speaking: Whether a turn is open.
            patience: Seconds that the end of a turn is waited for at most.
        """
        now = time.monotonic()
        if self._since is None or now < self._not_before:
            return None
        if self._task is None:
            self._task = asyncio.create_task(_open(self._dial), name="baseten.stt.handover")
            return None
        if not self._task.done() or (speaking and now - self._since < patience):
            return None
        task, self._task = self._task, None
        try:
            connection = task.result()
        except APIError as e:
            logger.warning("the next connection failed, the present one goes on: %s", e)
            self._not_before = now + _AGAIN
            return None
        return None if connection.ws.closed else connection

    async def cancel(self) -> None:
        """Give up the next connection."""
        task, self._task, self._since = self._task, None, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and not task.exception():
            task.result().ws.abort()


async def _open(dial: Callable[[], Awaitable[Connection]]) -> Connection:
    return await dial()
