"""What comes over a WebSocket, between its reader and whoever wants to know."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .credentials import ApiKey

__all__ = ["Closed", "Inbox", "Listener"]

_T = TypeVar("_T")

_MAX_QUEUED = 4 * 2**20  # bytes; past that the server is made to wait


@dataclass(frozen=True)
class Closed:
    """That a WebSocket has closed, as the last thing that :meth:`WebSocket.receive` returns.

    Attributes:
        code: The close code of the server; 1006 when the connection was lost.
        reason: The server's words, or what broke the connection.
    """

    code: int
    reason: str = ""


class Inbox:
    """What was read and not yet taken, unless there is a listener who takes it at once."""

    __slots__ = ("_key", "_listener", "_room", "_size", "_waiters", "closed", "messages")

    def __init__(self, key: ApiKey) -> None:
        self.messages: deque[str | bytes] = deque()
        self.closed: Closed | None = None
        self._key = key
        self._waiters: list[asyncio.Future[bool]] = []
        self._size = 0
        self._room = asyncio.Event()
        self._listener: Listener[Any] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take, not even the end."""
        return not self.messages and self.closed is None

    async def put(self, message: str | bytes) -> None:
        """Take in a message; waits while too much isn't taken."""
        # A server may say the key back in an error. What callers say is left as it is: a key of a
        # sandbox can be any word.
        if isinstance(message, str) and '"error"' in message:
            message = self._key.redact(message)
        if self._listener is not None and self._listener.hear(message):
            return
        self.messages.append(message)
        self._size += len(message)
        self.wake()
        while self._size > _MAX_QUEUED:
            self._room.clear()
            await self._room.wait()

    def take(self) -> str | bytes:
        """The oldest message."""
        message = self.messages.popleft()
        self._size -= len(message)
        self._room.set()
        return message

    def hand_to(self, listener: Listener[Any] | None) -> None:
        """Give what there is and what comes to a listener, until it has heard enough or is None."""
        self._listener = listener
        if listener is None:
            return
        while self.messages and listener.hear(self.messages[0]):
            self.take()
        if not self.messages and self.closed is not None:
            listener.hear(self.closed)

    def end(self, closed: Closed) -> None:
        """Note that nothing more comes."""
        self.closed = closed
        self.wake()
        if self._listener is not None and not self.messages:
            self._listener.hear(closed)

    async def wait(self, timeout: float | None) -> bool:
        """Whether something came in time."""
        # Each message passes here: an event and a timeout() would cost as much as all the rest.
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        timer = None if timeout is None else loop.call_later(timeout, _settle, waiter, False)
        self._waiters.append(waiter)
        try:
            return await waiter
        finally:
            self._waiters.remove(waiter)
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        """Make :meth:`wait` return."""
        for waiter in self._waiters:
            _settle(waiter, True)


class Listener(Generic[_T]):
    """Takes messages until one, the end of the connection or of its patience says what came out."""

    def __init__(
        self, take: Callable[[str | bytes], _T | None], patience: Callable[[], float]
    ) -> None:
        self._take = take
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._result: _T | Closed | None = None
        self._error: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch()

    def hear(self, message: str | bytes | Closed) -> bool:
        """Whether it was taken."""
        if self._over.done():
            return False
        try:
            self._result = message if isinstance(message, Closed) else self._take(message)
        except Exception as e:
            self._error = e
        if self._result is not None or self._error is not None:
            self._over.set_result(None)
        return True

    async def outcome(self) -> _T | Closed:
        """Wait for it; raises what was raised instead."""
        try:
            await self._over
        finally:
            if self._timer is not None:
                self._timer.cancel()
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        assert self._result is not None
        return self._result

    def _watch(self) -> None:
        if self._over.done():
            return
        try:
            self._timer = self._loop.call_later(self._patience(), self._watch)
        except Exception as e:
            self._error = e
            self._over.set_result(None)


def _settle(waiter: asyncio.Future[bool], came: bool) -> None:
    if not waiter.done():
        waiter.set_result(came)
