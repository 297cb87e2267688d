from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import TypeVar

import aiohttp

from livekit.agents import APIError

from . import errors
from .credentials import ApiKey
from .deadlines import timeout as deadline
from .inbox import Closed, Inbox, Listener

__all__ = ["Closed", "WebSocket"]

_T = TypeVar("_T")

_SMALL = 8 * 2**10  # bytes, of which an empty buffer takes all without a wait
_GOODBYE = 0.2  # seconds that an abandoned connection may take to send its close frame


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
        self._inbox = Inbox(key)
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = ws.get_extra_info("socket")
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

    async def send(self, data: str | bytes, *, timeout: float | None = None) -> None:
        """Send one message.

        Args:
            data: The message.
            timeout: Seconds for which a full buffer may hold it up; None leaves it at that.

        Raises:
            APITimeoutError: the server takes nothing. How much of the message went out is unknown.
            APIError: the connection is closed or broke.
        """
        # Most messages go out at once, and a timer for each costs more than sending it.
        limit = None if self.idle and len(data) <= _SMALL else timeout
        try:
            async with deadline(limit):
                await self._send(data)
        except asyncio.TimeoutError:
            raise errors.timed_out(
                f"{self._what}: sending", timeout or 0.0, request_id=self.request_id
            ) from None

    async def _send(self, data: str | bytes) -> None:
        if self._inbox.closed:
            raise self.error(self._inbox.closed)
        try:
            if isinstance(data, str):
                await self._ws.send_str(data)
            else:
                await self._ws.send_bytes(data)
        except (aiohttp.ClientError, OSError, RuntimeError) as e:
            raise self._broken(e) from None

    def _broken(self, error: Exception) -> APIError:
        # The reader may have seen the server's close code, which says more than this.
        code = self._ws.close_code or 1006
        return self.error(self._inbox.closed or Closed(code, type(error).__name__))

    @property
    def idle(self) -> bool:
        """Whether it is open and nothing waits in the buffer."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._inbox.closed:
            return False
        try:
            return not transport.get_write_buffer_size()
        except AttributeError:  # of a lost TLS connection, in Python 3.10
            return False

    def send_nowait(self, data: str | bytes) -> bool:
        """Send a message if that takes no wait: it is small, and nothing waits in the buffer.

        It spares the turn of the event loop that costs as much again.

        Returns:
            Whether it was sent.

        Raises:
            APIError: the connection broke.
        """
        if len(data) > _SMALL or not self.idle:
            return False
        ws = self._ws
        sending = ws.send_str(data) if isinstance(data, str) else ws.send_bytes(data)
        try:
            sending.send(None)
        except StopIteration:
            return True
        except (aiohttp.ClientError, OSError, RuntimeError) as e:
            raise self._broken(e) from None
        sending.close()
        raise RuntimeError("aiohttp waits for something else than a full buffer")

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
                raise errors.timed_out(self._what, timeout or 0.0, request_id=self.request_id)
        if inbox.messages:
            return inbox.take()
        assert inbox.closed is not None
        return inbox.closed

    async def listen(
        self,
        take: Callable[[str | bytes], _T | None],
        *,
        patience: Callable[[], float],
    ) -> _T | Closed:
        """Have each message taken in the step that reads it, which spares turns of the loop.

        Args:
            take: Takes a message. What it returns, if not None, or raises ends the listening;
                later messages are left for :meth:`receive`.
            patience: Asked now and then how long it makes sense to wait from now, in seconds,
                before it is asked again. What it raises ends the listening too.

        Returns:
            What ``take`` returned, or how the connection ended.
        """
        listener = Listener(take, patience)
        self._inbox.hand_to(listener)
        try:
            return await listener.outcome()
        finally:
            self._inbox.hand_to(None)

    async def wait_closed(self) -> Closed:
        """Wait until the connection has ended; messages stay queued."""
        await asyncio.wait([self._reader])
        assert self.closed is not None
        return self.closed

    async def close(self, *, timeout: float = 1.0) -> None:
        """Send what is under way, say goodbye, wait for the server's, and close.

        Args:
            timeout: Seconds for all that, and for the reader to end.
        """
        try:
            with contextlib.suppress(asyncio.TimeoutError):
                async with deadline(timeout):
                    await self._ws.close()
        finally:
            self.abort()
            if self._ws.close_code in (None, 1006):
                _hang_up(self._socket)
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


async def _read(ws: aiohttp.ClientWebSocketResponse[bool], inbox: Inbox) -> None:
    closed = Closed(1006, "given up by the client")
    connection = ws.get_extra_info("socket")
    closing = False
    try:
        while True:
            message = await ws.receive()
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                await inbox.put(message.data)
                continue
            if message.type == aiohttp.WSMsgType.CLOSE:
                closed = Closed(message.data or 1005, message.extra or "")
            elif message.type == aiohttp.WSMsgType.CLOSING:
                closing = True
                closed = Closed(1000, "closed by the client")
            else:
                closed = _broken(ws)
            break
    finally:
        inbox.end(closed)
        if not closing:  # otherwise close() does the same, and with more patience
            # After a cancelled receive, aiohttp sends the close frame and drops the connection
            # without a wait; only a send buffer that the peer doesn't empty would hold it up.
            with contextlib.suppress(asyncio.TimeoutError):
                async with deadline(_GOODBYE):
                    await ws.close()
        if closed.code == 1006:
            _hang_up(connection)


def _hang_up(connection: socket.socket | None) -> None:
    # A peer that takes nothing any more would otherwise hold up whoever is sending.
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _broken(ws: aiohttp.ClientWebSocketResponse[bool]) -> Closed:
    cause = ws.exception()
    if isinstance(cause, aiohttp.WebSocketError):
        return Closed(cause.code, str(cause))
    # aiohttp reports an end of stream without a close frame as 1000.
    code = ws.close_code if ws.close_code not in (None, 1000) else 1006
    return Closed(code or 1006, type(cause).__name__ if cause else "")
