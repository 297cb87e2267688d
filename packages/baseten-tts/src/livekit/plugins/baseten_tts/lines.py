from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass

from livekit.plugins.baseten_common import WebSocket

__all__ = ["KeepAlive", "Line", "kind_of"]

_OLDEST = 3300.0  # seconds; Baseten guarantees an hour, and mustn't cut an utterance then


@dataclass(frozen=True)
class KeepAlive:
    """A sign of life that the protocol has for an idle session.

    Attributes:
        message: What to send.
        answer: The ``type`` of what comes back.
        interval: Seconds between two.
    """

    message: str
    answer: str
    interval: float


@dataclass(eq=False)
class Line:
    """A connection with what is known of the session on it.

    Attributes:
        ws: The connection.
        prelude: The configuration that was sent on it.
        reused: Whether it was waiting, rather than dialled for this utterance.
        uses: Utterances that it has served.
        owed: Answers to signs of life that are still to come.
        acquire_time: Seconds that the utterance waited for it.
    """

    ws: WebSocket
    prelude: str = ""
    reused: bool = False
    uses: int = 0
    owed: int = 0
    acquire_time: float = 0.0
    since: float = 0.0
    watcher: asyncio.Task[None] | None = None

    @property
    def worn(self) -> bool:
        """Whether it can't take another utterance: it is closed, or might be in the midst of it."""
        return self.ws.closed is not None or time.monotonic() - self.since > _OLDEST

    async def say_goodbye(self) -> None:
        """Close politely; takes a second or two at most."""
        await self.ws.close()


def kind_of(message: str | bytes) -> object:
    """The ``type`` of a JSON message; None when it has none."""
    if isinstance(message, bytes):
        return None
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return event.get("type") if isinstance(event, dict) else None
