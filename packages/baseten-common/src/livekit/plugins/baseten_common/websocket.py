from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from dataclasses import dataclass

import aiohttp

from livekit.agents import APIError

from . import errors
from .credentials import ApiKey
from .deadlines import timeout as deadline

__all__ = ["Closed", "WebSocket"]

_MAX_QUEUED = 4 * 2**20  # bytes; past that the server is made to wait
_GOODBYE = 0.2  # seconds that an abandoned connection may take to send its close frame


@dataclass(frozen=True)
class Closed:
    """That a WebSocket has closed, as the last thing that :meth:`WebSocket.receive` returns.

    Attributes:
        code: The close code of the server; 1006 when the connection was lost.
        reason: The server's words, or what broke the connection.
    """

    code: int
    reason: str = ""


class WebSocket:
    """An open WebSocket that is always being read.

    A task of its own reads it, so pings are answered and a close is seen while nobody waits for a
    message, and waiting can be given up without harm to the connection. That task also closes the
    connection, so nothing stays open when this object is dropped.
    """

    def __init__(
        self,
        ws: aiohttp.ClientWebSocketResponse[bool],
        *,
        url: str,
        what: str,
        key: ApiKey,
        request_id: str | None = None,
        acquire_time: float = 0.0,
        transport: asyncio.WriteTransport | None = None,
    ) -> None:
        """Take over a connection; see :meth:`Transport.connect`."""
        self._ws = ws
        self._transport = transport
        self._what = what
        self._key = key
        self.url = url
        self.request_id = request_id
        self.acquire_time = acquire_time
        """Seconds that the handshake took."""
        self._inbox = _Inbox()
        self._loop = asyncio.get_running_loop()
        self._reader = asyncio.create_task(_read(ws, self._inbox), name="baseten.websocket")

    @property
    def closed(self) -> Closed | None:
        """How the connection ended, or None while it is open. Queued messages may remain."""
        return self._inbox.closed

    def error(self, closed: Closed) -> APIError:
        """The error for a close that came before the protocol's own end."""
        return errors.from_close(
            closed.code,
            closed.reason,
            what=self._what,
            request_id=self.request_id,
            key=self._key,
        )

    async def send(self, data: str | bytes) -> None:
        """Send one message.

        Raises:
            APIError: the connection is closed or broke.
        """
        if self.closed:
            raise self.error(self.closed)
        try:
            if isinstance(data, str):
                await self._ws.send_str(data)
            else:
                await self._ws.send_bytes(data)
        except (aiohttp.ClientError, OSError, RuntimeError) as e:
            # The reader may have seen the server's close code, which says more than this.
            closed = self.closed or Closed(self._ws.close_code or 1006, type(e).__name__)
            raise self.error(closed) from None

    @property
    def idle(self) -> bool:
        """Whether nothing waits in the buffer, so that :meth:`send_nowait` may be used."""
        return self._transport is not None and not self._transport.get_write_buffer_size()

    def send_nowait(self, data: str | bytes) -> None:
        """Send one small message, without the turn of the event loop that costs as much again.

        Only while :attr:`idle`: aiohttp waits for nothing but a full buffer.

        Raises:
            APIError: the connection is closed or broke.
        """
        sending = self.send(data)
        try:
            sending.send(None)
        except StopIteration:
            return
        sending.close()
        raise RuntimeError("send_nowait() is for small messages, while nothing waits in the buffer")

    async def receive(self, *, timeout: float | None = None) -> str | bytes | Closed:
        """The next message, or how the connection ended.

        Args:
            timeout: Seconds to wait at most; None waits for ever, which only the heartbeat bounds.

        Raises:
            APITimeoutError: nothing came in time. The connection stays usable.
        """
        inbox = self._inbox
        while inbox.is_empty:
            if not await inbox.wait(timeout) and inbox.is_empty:
                raise errors.timed_out(self._what, timeout or 0.0)
        if inbox.messages:
            message = inbox.take()
            # A server may say the key back in an error. What callers say is left as it is: a
            # key of a sandbox can be any word.
            if isinstance(message, str) and '"error"' in message:
                message = self._key.redact(message)
            return message
        assert inbox.closed is not None
        return inbox.closed

    async def wait_closed(self) -> Closed:
        """Wait until the connection has ended; messages stay queued."""
        await asyncio.wait([self._reader])
        assert self.closed is not None
        return self.closed

    async def close(self, *, timeout: float = 1.0) -> None:
        """Say goodbye, wait for the server's, and close; at most ``timeout`` seconds each."""
        try:
            with contextlib.suppress(asyncio.TimeoutError):
                async with deadline(timeout):
                    await self._ws.close()
        finally:
            self.abort()
        await asyncio.wait([self._reader], timeout=timeout)

    def abort(self) -> None:
        """Close without waiting: the close frame goes out in the loop's next turns."""
        # Not at once: a task that is cancelled before its first step never reaches its `finally`.
        if not self._loop.is_closed():
            self._loop.call_soon(self._reader.cancel)

    def __del__(self) -> None:
        # May run on any thread, and after the loop's end.
        with contextlib.suppress(AttributeError, RuntimeError):
            if not self._reader.done():
                self._loop.call_soon_threadsafe(self._reader.cancel)


class _Inbox:
    def __init__(self) -> None:
        self.messages: deque[str | bytes] = deque()
        self.closed: Closed | None = None
        self._waiters: list[asyncio.Future[bool]] = []
        self._size = 0
        self._room = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return not self.messages and self.closed is None

    async def put(self, message: str | bytes) -> None:
        self.messages.append(message)
        self._size += len(message)
        self.wake()
        while self._size > _MAX_QUEUED:
            self._room.clear()
            await self._room.wait()

    def take(self) -> str | bytes:
        message = self.messages.popleft()
        self._size -= len(message)
        self._room.set()
        return message

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
        for waiter in self._waiters:
            _settle(waiter, True)


def _settle(waiter: asyncio.Future[bool], came: bool) -> None:
    if not waiter.done():
        waiter.set_result(came)


async def _read(ws: aiohttp.ClientWebSocketResponse[bool], inbox: _Inbox) -> None:
    closed = Closed(1006, "given up by the client")
    transport_socket = ws.get_extra_info("socket")
    try:
        while True:
            message = await ws.receive()
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                await inbox.put(message.data)
                continue
            if message.type == aiohttp.WSMsgType.CLOSE:
                closed = Closed(message.data or 1005, message.extra or "")
            else:
                closed = _broken(ws)
            break
    finally:
        inbox.closed = closed
        inbox.wake()
        # After a cancelled receive, aiohttp sends the close frame and drops the connection
        # without a wait; only a send buffer that the peer doesn't empty would hold it up.
        with contextlib.suppress(asyncio.TimeoutError):
            async with deadline(_GOODBYE):
                await ws.close()
        if closed.code == 1006:
            # A peer that takes nothing any more would otherwise hold up whoever is sending.
            with contextlib.suppress(OSError, AttributeError):
                transport_socket.shutdown(socket.SHUT_RDWR)


def _broken(ws: aiohttp.ClientWebSocketResponse[bool]) -> Closed:
    cause = ws.exception()
    if isinstance(cause, aiohttp.WebSocketError):
        return Closed(cause.code, str(cause))
    # aiohttp reports an end of stream without a close frame as 1000.
    code = ws.close_code if ws.close_code not in (None, 1000) else 1006
    return Closed(code or 1006, type(cause).__name__ if cause else "")
