"""One WebSocket of the sandbox: messages recorded, faults applied, closes as Truss does them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from typing import Any, Literal

from aiohttp import WebSocketError, WSMsgType, web

from .faults import ConnectionFaults, Fault
from .records import Journal, SessionRecord

__all__ = ["MODEL_ERROR", "Disconnected", "Rejected", "Socket", "reset_transport"]

MODEL_ERROR = "Internal Server Error (in model/chainlet)."
"""What Truss says, as a close reason or an ``error``, when the model raised."""


class Disconnected(Exception):
    """The connection is over; the protocol server has nothing left to do."""


class Rejected(Exception):
    """The model's code raised on what the client sent: Truss closes with 1011."""


def reset_transport(transport: asyncio.BaseTransport | None) -> None:
    """End a connection by TCP RST, as a crashed replica does."""
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


class Socket:
    """A WebSocket as the protocol servers see it."""

    def __init__(
        self,
        request: web.Request,
        response: web.WebSocketResponse,
        record: SessionRecord,
        faults: ConnectionFaults,
        journal: Journal,
        *,
        ping_interval: float | None,
    ) -> None:
        self._request = request
        self._ws = response
        self._faults = faults
        self._journal = journal
        self._muted = False
        self._silent = False
        self._held: str | bytes | None = None
        self._gone = asyncio.Event()
        self._pong = asyncio.Event()
        self._ping_interval = ping_interval
        self.record = record

    async def run_pings(self) -> None:
        """Ping as Truss does, and close when the pong stays out for as long again."""
        interval = self._ping_interval
        if not interval:
            return
        while not self._ws.closed:
            await asyncio.sleep(interval)
            if self._silent:
                return
            self._pong.clear()
            try:
                await self._ws.ping()
            except (ConnectionError, RuntimeError):
                return
            try:
                await asyncio.wait_for(self._pong.wait(), interval)
            except asyncio.TimeoutError:
                if not self._silent:
                    await self.close(1011, "keepalive ping timeout")
                return

    async def opened(self) -> None:
        """Apply the faults that are due right after the handshake."""
        for fault in self._faults.begin("open"):
            await self.strike(fault)

    async def receive(self) -> str | bytes:
        """The next message of the client.

        Raises:
            Disconnected: There will be none.
        """
        while True:
            if self._silent or self._gone.is_set():
                await self._gone.wait()
                raise Disconnected
            message = await self._ws.receive()
            if self._silent:
                continue
            if message.type is WSMsgType.PING:
                self.record.pings += 1
                self._journal.changed()
                with contextlib.suppress(ConnectionError):
                    await self._ws.pong(message.data)
                continue
            if message.type is WSMsgType.PONG:
                self._pong.set()
                continue
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                self._left(message.type, message.data, message.extra)
                raise Disconnected
            data: str | bytes = message.data
            passed = await self._arrived(data)
            if passed is not None:
                return passed

    async def _arrived(self, data: str | bytes) -> str | bytes | None:
        self._journal.add(self.record, "received", data)
        dropped = False
        for fault in self._faults.before("receive", data):
            if fault.do == "drop":
                dropped = True
            elif fault.do == "replace":
                data = fault.wire_payload
            elif fault.do == "delay":
                await asyncio.sleep(fault.seconds or 0.0)
            else:
                await self.strike(fault)
        for fault in self._faults.passed("receive", data):
            await self.strike(fault)
        return None if dropped or self._silent or self._gone.is_set() else data

    def _left(self, kind: WSMsgType, data: Any, extra: Any) -> None:
        if self.record.closed_by is not None:
            return
        self.record.closed_by = "client"
        if isinstance(data, WebSocketError):
            # Not a client that left: aiohttp closed on a frame that breaks the protocol.
            self.record.closed_by = "server"
            self.record.close_code = int(data.code)
        elif kind is WSMsgType.CLOSE:
            self.record.close_code = int(data) if data else 1005
            self.record.close_reason = str(extra or "")
        else:
            code = self._ws.close_code
            self.record.close_code = code if code not in (None, 1000) else 1006
        self._journal.changed()

    async def receive_text(self) -> str:
        """The next message, which must be text.

        Raises:
            Rejected: It was binary.
            Disconnected: There will be none.
        """
        data = await self.receive()
        if not isinstance(data, str):
            raise Rejected
        return data

    async def send_json(self, message: Any) -> None:
        """Send one JSON text message."""
        await self.send(json.dumps(message))

    async def send(self, data: str | bytes) -> None:
        """Send one message, as far as no fault is in its way.

        Raises:
            Disconnected: The connection is over.
        """
        if self._gone.is_set():
            raise Disconnected
        copies = 1
        held: str | bytes | None = None
        for fault in self._faults.before("send", data):
            if fault.do == "drop":
                copies = 0
            elif fault.do == "duplicate":
                copies = 2
            elif fault.do == "swap":
                copies, held = 0, data
            elif fault.do == "replace":
                data = fault.wire_payload
            elif fault.do == "delay":
                await asyncio.sleep(fault.seconds or 0.0)
            else:
                await self.strike(fault)
        if self._gone.is_set():
            raise Disconnected
        for _ in range(copies):
            await self._put(data)
        if self._held is not None:
            await self._put(self._held)
        self._held = held
        for fault in self._faults.passed("send", data):
            await self.strike(fault)
        if self._gone.is_set():
            raise Disconnected

    async def _put(self, data: str | bytes) -> None:
        if self._muted or self._silent:
            return
        # Recorded first: a test that waits for the record must not see the client act on a
        # message before the record holds it.
        self._journal.add(self.record, "sent", data)
        try:
            if isinstance(data, str):
                await self._ws.send_str(data)
            else:
                await self._ws.send_bytes(data)
        except (ConnectionError, RuntimeError):
            self.lost()
            raise Disconnected from None

    def lost(self, by: Literal["client", "server", "fault"] = "client") -> None:
        """Take note that the connection is over without a close frame."""
        if self.record.closed_by is None:
            self.record.closed_by = by
            self.record.close_code = 1006
        self._gone.set()
        self._journal.changed()

    def break_off(self) -> None:
        """End the connection without a close frame."""
        self.lost("fault")
        reset_transport(self._request.transport)

    async def strike(self, fault: Fault) -> None:
        """Inject a fault now."""
        if self._gone.is_set():
            return
        self.record.faults.append(fault.do)
        transport = self._request.transport
        if fault.do == "send":
            await self._put(fault.wire_payload)
        elif fault.do == "mute":
            self._muted = True
        elif fault.do == "silence":
            self._silent = True
            if isinstance(transport, asyncio.Transport):
                transport.pause_reading()
        elif fault.do == "reset":
            self.break_off()
        elif fault.do == "eof":
            self.lost("fault")
            if transport is not None:
                transport.close()
        elif fault.do == "finish":
            await self.close(1000, "", by="fault")
        elif fault.do == "close":
            await self.close(fault.code, fault.reason, by="fault")
        self._journal.changed()

    async def end(self, code: int, reason: str = "") -> None:
        """Close after the protocol server's work; if muted or silent, wait for the client to leave."""
        if not self._gone.is_set() and (self._muted or self._silent):
            with contextlib.suppress(Disconnected):
                while True:
                    await self.receive()
        if self._held is not None and not self._gone.is_set():
            await self._put(self._held)
        await self.close(code, reason)

    async def close(
        self, code: int, reason: str = "", *, by: Literal["server", "fault"] = "server"
    ) -> None:
        """Close with a code."""
        if self._gone.is_set():
            return
        if self.record.closed_by is None:
            self.record.closed_by = by
            self.record.close_code = int(code)
            self.record.close_reason = reason
        self._gone.set()
        self._journal.changed()
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self._ws.close(code=int(code), message=reason.encode())
