"""What a chat engine is asked and what it may answer, apart from any wire format."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

__all__ = [
    "ChatEngine",
    "Cut",
    "Failure",
    "Finish",
    "FinishReason",
    "Hold",
    "Raw",
    "Reasoning",
    "Refusal",
    "Reply",
    "Silence",
    "Text",
    "ToolCall",
]

FinishReason = Literal["stop", "length", "tool_calls", "function_call", "content_filter"]


@dataclass(frozen=True)
class Text:
    """A piece of the answer; the server cuts it into tokens."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """A piece of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """A call of an offered tool; ``arguments`` is JSON text. Without an ``id`` the server makes one up."""

    name: str
    arguments: str
    id: str | None = None


@dataclass(frozen=True)
class Finish:
    """Ends the answer with this reason; without one the server finds the fitting reason itself."""

    reason: FinishReason | None


@dataclass(frozen=True)
class Refusal:
    """An HTTP status in place of an answer. Only as the first thing said."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """An error object inside the stream, after which the stream ends."""

    body: Any


@dataclass(frozen=True)
class Raw:
    """Bytes put on the wire as they are, after which the server adds nothing of its own."""

    data: bytes


@dataclass(frozen=True)
class Silence:
    """Says nothing more until the client goes away; ``before_headers`` withholds the status line too."""

    before_headers: bool = False


@dataclass(frozen=True)
class Hold:
    """Waits for an event that a test sets."""

    until: asyncio.Event


@dataclass(frozen=True)
class Cut:
    """Ends the body here, without a finish; ``politely`` as if it were whole, else by dropping the connection."""

    politely: bool = False


Reply = Text | Reasoning | ToolCall | Finish | Refusal | Failure | Raw | Silence | Hold | Cut


class ChatEngine(Protocol):
    """Answers a chat request.

    ``request`` is a request body that passed the closed schema; ``thinks`` says whether the model would reason first.
    """

    def reply(self, request: Mapping[str, Any], *, thinks: bool) -> AsyncGenerator[Reply, None]:
        """Yield the answer, piece by piece."""
        ...
