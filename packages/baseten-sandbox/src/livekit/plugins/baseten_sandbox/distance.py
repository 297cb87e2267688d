"""Distance: a relay in front of the sandbox that adds round-trip time and limits bandwidth."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Literal

from .sockets import reset_transport

__all__ = ["Relay"]

_CHUNK = 64 * 1024
_HELD = 8
_PIECE_SECONDS = 0.02


class Relay:
    """Passes TCP connections on to a port, late and not too fast.

    The first bytes of a connection wait one whole round trip more, as its SYN would.

    Args:
        target: Port on the same host to pass on to.
        round_trip: Seconds that a byte takes there and back.
        bandwidth: Bytes per second each way; ``None`` for no limit.
        watch: Called with a connection's number when bytes have come from the target, and when
            some are about to go to it.
    """

    def __init__(
        self,
        *,
        target: int,
        round_trip: float,
        bandwidth: float | None,
        watch: Callable[[int, Literal["come", "go"]], None] = lambda number, what: None,
    ) -> None:
        self._target = target
        self._one_way = round_trip / 2
        self._bandwidth = bandwidth
        self._watch = watch
        self._numbers = itertools.count()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen."""
        self._host = host
        self._server = await asyncio.start_server(self._accepted, host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut what is open."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            # From Python 3.12 on this waits for connections too, even for one that is accepted
            # only now, so it is bounded.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 1.0)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):
            reset_transport(writer.transport)
        finally:
            self._tasks.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(self._host, self._target)
        number = next(self._numbers)
        up = self._carry(
            reader,
            inner_writer,
            first=2 * self._one_way,
            leaving=lambda: self._watch(number, "go"),
        )
        down = self._carry(
            inner_reader, writer, first=0.0, arrived=lambda: self._watch(number, "come")
        )
        ways = [asyncio.create_task(up), asyncio.create_task(down)]
        try:
            await asyncio.gather(*ways)
        except OSError:
            # One end was reset, so the other one is too.
            reset_transport(writer.transport)
            reset_transport(inner_writer.transport)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, inner_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        first: float,
        arrived: Callable[[], None] = lambda: None,
        leaving: Callable[[], None] = lambda: None,
    ) -> None:
        loop = asyncio.get_running_loop()
        # Bounded, so that a peer that doesn't read is felt at the other end.
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_HELD if self._bandwidth else 0)

        async def deliver() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    with contextlib.suppress(OSError, RuntimeError):
                        if writer.can_write_eof():
                            writer.write_eof()
                    return
                leaving()
                writer.write(data)
                await writer.drain()

        # Small pieces, so that a narrow line gives a trickle and not gushes.
        piece = _CHUNK
        if self._bandwidth:
            piece = max(512, min(_CHUNK, int(self._bandwidth * _PIECE_SECONDS)))

        async def collect() -> None:
            clear_at = loop.time() + first
            while True:
                data = await reader.read(piece)
                arrived()
                clear_at = max(clear_at, loop.time())
                if self._bandwidth:
                    clear_at += len(data) / self._bandwidth
                await queue.put((clear_at + self._one_way, data))
                if not data:
                    return

        await asyncio.gather(collect(), deliver())
