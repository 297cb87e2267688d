"""HTTP answers of the sandbox: what is written is recorded, and faults cut or mangle it."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from .faults import ConnectionFaults, Fault
from .records import Journal, SessionRecord
from .sockets import reset_transport

__all__ = ["Tap"]


class Tap:
    """Stands between a response and its transport.

    Protocol servers write plain aiohttp responses; the gateway puts a tap on each as its headers
    go out, so no server needs to know about records or faults.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        record: SessionRecord,
        faults: ConnectionFaults,
        journal: Journal,
    ) -> None:
        self._request = request
        self.record = record
        self._faults = faults
        self._journal = journal
        self._muted = False
        self._finished = False
        self._ended = False

    def attach(self, response: web.StreamResponse) -> None:
        """Take over the writing of a response that is about to be sent."""
        self.record.status = response.status
        self._journal.changed()
        write, write_eof = response.write, response.write_eof

        async def tapped_write(data: bytes | bytearray | memoryview) -> None:
            await self._write(bytes(data), write)

        async def tapped_eof(data: bytes = b"") -> None:
            # aiohttp calls it once more after the gateway did.
            if self._ended:
                return
            self._ended = True
            body = data or (response.body if isinstance(response, web.Response) else b"")
            if isinstance(body, bytes) and body:
                await self._write_whole(body, write_eof)
                return
            while self._muted:
                await self._idle()
            await write_eof()

        response.write = tapped_write  # type: ignore[method-assign]
        response.write_eof = tapped_eof  # type: ignore[method-assign]

    async def _write_whole(self, body: bytes, write_eof: Any) -> None:
        if not self._faults.waiting("send"):
            self._journal.add(self.record, "sent", body)
            await write_eof()
            return
        writer = self._request._payload_writer
        assert isinstance(writer, AbstractStreamWriter)
        await self._write(body, writer.write)
        await writer.write_eof()
        if self._finished and self._request.transport is not None:
            # The announced Content-Length isn't met, so the connection is of no more use.
            self._request.transport.close()

    async def _write(self, data: bytes, write: Any) -> None:
        if self._finished:
            return
        room = self._faults.room()
        rest = b""
        if room is not None and room < len(data):
            data, rest = data[:room], data[room:]
        copies = 1
        for fault in self._faults.before("send", data):
            if fault.do == "drop":
                copies = 0
            elif fault.do == "duplicate":
                copies = 2
            elif fault.do == "swap":
                # A body's pieces aren't messages: out of order they would be noise.
                continue
            elif fault.do == "replace":
                payload = fault.wire_payload
                data = payload.encode() if isinstance(payload, str) else payload
            elif fault.do == "delay":
                await asyncio.sleep(fault.seconds or 0.0)
            else:
                await self._strike(fault, write)
        if self._finished:
            return
        for _ in range(copies):
            await self._put(data, write)
        for fault in self._faults.passed("send", data):
            await self._strike(fault, write)
        if rest:
            await self._write(rest, write)

    async def _put(self, data: bytes, write: Any) -> None:
        while self._muted:
            await self._idle()
        if data:
            self._journal.add(self.record, "sent", data)
            await write(data)

    async def _idle(self) -> None:
        # Ends when the client leaves: an HTTP handler isn't told, so it has to look.
        await asyncio.sleep(0.02)
        if self._request.transport is None or self._request.transport.is_closing():
            raise ConnectionResetError("the client left")

    async def _strike(self, fault: Fault, write: Any) -> None:
        self.record.faults.append(fault.do)
        if fault.do == "send":
            payload = fault.wire_payload
            await self._put(payload.encode() if isinstance(payload, str) else payload, write)
        elif fault.do in ("mute", "silence"):
            self._muted = True
            self._journal.changed()
        elif fault.do == "finish":
            self._end("finish")
        else:
            writer = self._request._payload_writer
            if isinstance(writer, AbstractStreamWriter) and self._request.transport is not None:
                # What was written before the cut must still arrive.
                await writer.drain()
            if fault.do == "eof" and self._request.transport is not None:
                self._request.transport.close()
            else:
                reset_transport(self._request.transport)
            self._end(fault.do)
            raise ConnectionResetError("cut by a fault")

    def _end(self, name: str) -> None:
        self._finished = True
        self.record.closed_by = "fault"
        self._journal.changed()
