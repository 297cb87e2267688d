"""A piece of the Internet on loopback, reached as a proxy: Baseten's hosts lead to a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

__all__ = ["TURN_DETECTOR", "Internet", "internet"]

TURN_DETECTOR = "http://turn-detector.test"


class Internet:
    """An HTTP proxy. TLS passes through it untouched, so the clients check real host names.

    Attributes:
        tunnels: Hosts that were connected to.
        refused: Hosts that lead nowhere here.
        predictions: What LiveKit's hosted end-of-turn service was asked.
    """

    def __init__(self, baseten_port: int) -> None:
        self.tunnels: list[str] = []
        self.refused: list[str] = []
        self.predictions: list[dict[str, Any]] = []
        self._baseten_port = baseten_port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(" ", 2)
            if method == "CONNECT":
                await self._tunnel(target, reader, writer)
            elif target.startswith(TURN_DETECTOR):
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
                body = await reader.readexactly(int(fields["content-length"]))
                answer = json.dumps(self._end_of_turn(json.loads(body)))
                writer.write(
                    f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                    f"Content-Length: {len(answer)}\r\n\r\n{answer}".encode()
                )
            else:
                self._refuse(target, writer)
            await writer.drain()
        writer.close()

    def _refuse(self, target: str, writer: asyncio.StreamWriter) -> None:
        self.refused.append(target)
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    def _end_of_turn(self, question: dict[str, Any]) -> dict[str, float]:
        if "language" in question:
            return {"threshold": 0.5}
        self.predictions.append(question)
        return {"probability": 0.9}

    async def _tunnel(
        self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        host = target.rpartition(":")[0]
        if not (host.endswith(".api.baseten.co") or host == "inference.baseten.co"):
            return self._refuse(target, writer)
        self.tunnels.append(host)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._baseten_port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))
        finally:
            far_writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def internet(baseten_port: int) -> AsyncIterator[tuple[Internet, str]]:
    """Run the proxy, and give it with its URL."""
    double = Internet(baseten_port)
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await double.serve(reader, writer)
        finally:
            connections.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield double, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()
