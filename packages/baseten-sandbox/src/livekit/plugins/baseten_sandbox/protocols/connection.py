"""What a protocol server needs of a WebSocket, whoever serves it."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Connection"]


class Connection(Protocol):
    """Messages in and out of one session.

    The sandbox's own `Socket` is one; a model that serves a protocol elsewhere, such as behind the
    Truss server, brings another.
    """

    async def receive(self) -> str | bytes:
        """The next message of the client.

        Raises:
            Disconnected: There will be none.
        """
        ...

    async def receive_text(self) -> str:
        """The next message, which must be text.

        Raises:
            Rejected: It was binary.
            Disconnected: There will be none.
        """
        ...

    async def send(self, data: str | bytes) -> None:
        """Send one message.

        Raises:
            Disconnected: The connection is over.
        """
        ...

    async def send_json(self, message: Any) -> None:
        """Send one JSON text message.

        Raises:
            Disconnected: The connection is over.
        """
        ...
