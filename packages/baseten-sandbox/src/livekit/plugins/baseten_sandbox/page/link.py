"""The WebSocket to one browser: what goes out stays in order, and speech can be taken back."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from typing import Any

from aiohttp import web

__all__ = ["Link"]


class Link:
    """Sends to one browser from code that can't wait.

    LiveKit's outputs are partly synchronous (``flush``, ``clear_buffer``), so messages are queued
    and one task writes them.

    Args:
        ws: The open WebSocket.
    """

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self._ws = ws
        self._outbox: deque[str | bytes] = deque()
        self._filled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.closed = False

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._write(), name="baseten-sandbox-page-link")

    def send(self, kind: str, **fields: Any) -> None:
        """Queue one JSON message; after the end it goes nowhere."""
        self._put(json.dumps({"type": kind, **fields}, separators=(",", ":")))

    def send_audio(self, pcm: bytes) -> None:
        """Queue PCM s16le."""
        self._put(pcm)

    def drop_audio(self) -> None:
        """Take back the audio that isn't written yet."""
        kept = [message for message in self._outbox if isinstance(message, str)]
        self._outbox.clear()
        self._outbox.extend(kept)

    def _put(self, message: str | bytes) -> None:
        if not self.closed:
            self._outbox.append(message)
            self._filled.set()

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            while True:
                await self._filled.wait()
                while self._outbox:
                    message = self._outbox.popleft()
                    if isinstance(message, str):
                        await self._ws.send_str(message)
                    else:
                        await self._ws.send_bytes(message)
                self._filled.clear()
        self.closed = True

    async def aclose(self, *, drain: float = 0.0) -> None:
        """Stop writing.

        Args:
            drain: Seconds that what is queued may take to go out.
        """
        deadline = asyncio.get_running_loop().time() + drain
        while self._outbox and not self.closed:
            if asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(0.01)
        self.closed = True
        self._outbox.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
