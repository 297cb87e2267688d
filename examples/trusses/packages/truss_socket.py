"""A WebSocket of the Truss server, shaped as the sandbox's protocol servers take one."""

from __future__ import annotations

import json
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from livekit.plugins.baseten_sandbox.sockets import Disconnected, Rejected

__all__ = ["TrussSocket"]


class TrussSocket:
    """Messages in and out of one session.

    Args:
        websocket: What Truss hands to ``Model.websocket``, accepted already.
    """

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> str | bytes:
        """The next message of the client.

        Raises:
            Disconnected: The client is gone.
        """
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise Disconnected
        text: str | None = message.get("text")
        data: bytes = message.get("bytes") or b""
        return data if text is None else text

    async def receive_text(self) -> str:
        """The next message, which must be text.

        Raises:
            Rejected: It was binary; Truss closes with 1011 for it, as for any exception.
            Disconnected: The client is gone.
        """
        data = await self.receive()
        if not isinstance(data, str):
            raise Rejected("expected a text message")
        return data

    async def send(self, data: str | bytes) -> None:
        """Send one message.

        Raises:
            Disconnected: The client is gone.
        """
        try:
            if isinstance(data, str):
                await self._websocket.send_text(data)
            else:
                await self._websocket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError):
            # Starlette raises a RuntimeError where it knows already that the client left.
            raise Disconnected from None

    async def send_json(self, message: Any) -> None:
        """Send one JSON text message.

        Raises:
            Disconnected: The client is gone.
        """
        await self.send(json.dumps(message))
