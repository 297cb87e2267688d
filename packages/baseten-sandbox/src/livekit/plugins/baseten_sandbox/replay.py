"""Plays recorded sessions: the server's side, in answer to whatever client is there now."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Literal

from aiohttp import web

from .recording import Recording, load_recordings
from .sockets import Disconnected, Socket

__all__ = ["Replay", "ReplayPace"]

ReplayPace = Literal["order", "time"]


class Replay:
    """Recorded sessions to play.

    A deployment's sessions are played in the order in which they were recorded, and from the first
    again when they are used up.

    Args:
        path: A file of recordings.
        pace: ``"order"`` sends each message once the client has sent as many as it had then;
            ``"time"`` sends it as long after the session began as it was then.

    Raises:
        OSError: The file can't be read.
        ValueError: It isn't a file of recordings.
    """

    def __init__(self, path: Path, *, pace: ReplayPace = "order") -> None:
        if pace not in ("order", "time"):
            raise ValueError(f'pace must be "order" or "time", not {pace!r}')
        self._recordings = load_recordings(path)
        self._pace = pace
        self._played: dict[tuple[str, str | None], int] = {}

    def next(self, transport: str, deployment: str | None) -> Recording | None:
        """The recording that a new session plays; ``None`` when there is none for it."""
        fitting = [
            r for r in self._recordings if r.transport == transport and r.deployment == deployment
        ]
        if not fitting:
            return None
        at = self._played.get((transport, deployment), 0)
        self._played[transport, deployment] = at + 1
        return fitting[at % len(fitting)]

    async def serve_socket(self, socket: Socket, recording: Recording) -> None:
        """Play a WebSocket session."""
        arrived = asyncio.Semaphore(0)

        async def listen() -> None:
            while True:
                await socket.receive()
                arrived.release()

        listener = asyncio.create_task(listen())
        player = asyncio.create_task(self._play(socket, recording, arrived))
        try:
            await asyncio.wait({listener, player}, return_when=asyncio.FIRST_COMPLETED)
            if listener.done():
                listener.result()
            player.result()
            if recording.closed_by in ("server", "fault") and recording.close_code is not None:
                if recording.close_code == 1006:
                    socket.break_off()
                else:
                    await socket.close(recording.close_code, recording.close_reason)
            else:
                await listener
        finally:
            for task in (listener, player):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Disconnected):
                    await task

    async def _play(self, socket: Socket, recording: Recording, arrived: asyncio.Semaphore) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for message in recording.messages:
            if self._pace == "time":
                if message.direction == "sent":
                    await asyncio.sleep(began + message.at - loop.time())
                    await socket.send(message.data)
            elif message.direction == "received":
                await arrived.acquire()
            else:
                await socket.send(message.data)

    async def serve_http(self, request: web.Request, recording: Recording) -> web.StreamResponse:
        """Play the answer to a request."""
        response = web.StreamResponse(status=recording.status or 200)
        await response.prepare(request)
        for message in recording.messages:
            if message.direction == "sent":
                data = message.data
                await response.write(data.encode() if isinstance(data, str) else data)
        await response.write_eof()
        return response
