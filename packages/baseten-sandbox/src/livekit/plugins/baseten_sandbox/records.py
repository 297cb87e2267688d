"""What went over the wire: one record a connection, and conditions to wait for."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

__all__ = ["Journal", "Message", "Observer", "SessionRecord"]

_T = TypeVar("_T")
_KEPT_SESSIONS = 200


@dataclass(frozen=True)
class Message:
    """One WebSocket message or one piece of an HTTP body.

    Attributes:
        at: Seconds since the session began.
        direction: Seen from the sandbox: ``"received"`` came from the client.
        data: ``str`` for a text message, ``bytes`` for a binary one.
    """

    at: float
    direction: Literal["received", "sent"]
    data: str | bytes

    @property
    def json(self) -> Any:
        """The message parsed as JSON, or ``None`` when it isn't JSON."""
        try:
            return json.loads(self.data)
        except ValueError:
            return None


@dataclass
class SessionRecord:
    """One connection as the sandbox saw it: a WebSocket, or one HTTP request and its answer.

    Attributes:
        number: 0 for the sandbox's first session, and so on.
        transport: ``"websocket"`` or ``"http"``.
        deployment: Id of the deployment addressed; ``None`` for the Model APIs or an unknown id.
        route: The part of the path after the target, such as ``"websocket"`` or ``"predict"``.
        method: HTTP method.
        path: Path and query as received.
        headers: Request headers by lower-case name, without the key.
        scheme: ``"Bearer"``, ``"Api-Key"`` or whatever else stood in front of the key.
        authorized: Whether the key was right.
        request_id: The ``X-BASETEN-REQUEST-ID`` of the answer.
        status: HTTP status answered; 101 for a WebSocket that opened.
        messages: What went both ways, in order.
        passed: How many messages were received and sent.
        pings: Ping frames received from the client.
        close_code: Code of the WebSocket close, 1006 when there was no close frame.
        close_reason: Its reason.
        closed_by: Who ended it: ``"client"``, ``"server"`` or ``"fault"``.
        closed: Whether it is over.
        faults: What was injected, by name.
    """

    number: int
    transport: Literal["websocket", "http"]
    method: str
    path: str
    headers: dict[str, str]
    scheme: str | None
    authorized: bool
    request_id: str
    deployment: str | None = None
    route: str | None = None
    status: int | None = None
    messages: list[Message] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=lambda: {"received": 0, "sent": 0})
    pings: int = 0
    close_code: int | None = None
    close_reason: str = ""
    closed_by: Literal["client", "server", "fault"] | None = None
    closed: bool = False
    faults: list[str] = field(default_factory=list)
    opened_at: float = field(default_factory=time.monotonic, repr=False)

    def _of(self, direction: str, kind: type) -> list[Any]:
        return [
            m.data for m in self.messages if m.direction == direction and isinstance(m.data, kind)
        ]

    @property
    def received_texts(self) -> list[str]:
        """Text messages from the client; for HTTP the request body."""
        return self._of("received", str)

    @property
    def received_json(self) -> list[Any]:
        """The client's text messages that are JSON, parsed."""
        return [parsed for text in self.received_texts if (parsed := _parse(text)) is not None]

    @property
    def received_frames(self) -> list[bytes]:
        """Binary messages from the client."""
        return self._of("received", bytes)

    @property
    def received_audio(self) -> bytes:
        """All binary messages from the client, joined."""
        return b"".join(self.received_frames)

    @property
    def sent_texts(self) -> list[str]:
        """Text messages to the client."""
        return self._of("sent", str)

    @property
    def sent_json(self) -> list[Any]:
        """Text messages to the client that are JSON, parsed."""
        return [parsed for text in self.sent_texts if (parsed := _parse(text)) is not None]

    @property
    def sent_frames(self) -> list[bytes]:
        """Binary messages, or pieces of the HTTP body, to the client."""
        return self._of("sent", bytes)

    @property
    def sent_audio(self) -> bytes:
        """All of them joined."""
        return b"".join(self.sent_frames)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


class Observer(Protocol):
    """Is told of everything as it happens, on the event loop; must not block."""

    def opened(self, session: SessionRecord) -> None:
        """A session began."""

    def passed(self, session: SessionRecord, message: Message) -> None:
        """A message went one way or the other."""

    def closed(self, session: SessionRecord) -> None:
        """A session is over."""


class Journal:
    """All sessions, and a way to wait until something holds of them without sleeping.

    Args:
        observer: Is told of everything.
        keep: Keep every session and message. If not, messages are counted only and the oldest
            sessions are forgotten, so that a server may run for days.
    """

    def __init__(self, observer: Observer | None = None, *, keep: bool = True) -> None:
        self.sessions: list[SessionRecord] = []
        self.observers: list[Observer] = [] if observer is None else [observer]
        self._keep = keep
        self._numbers = itertools.count()
        self._waiters: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []

    def changed(self) -> None:
        """Tell the waiters that a record changed."""
        for condition, future in list(self._waiters):
            if future.done():
                continue
            try:
                value = condition()
            except Exception as error:
                future.set_exception(error)
            else:
                if value:
                    future.set_result(value)

    def number(self) -> int:
        """The number of the next session."""
        return next(self._numbers)

    def begin(self, session: SessionRecord) -> None:
        """Record that a session began."""
        self.sessions.append(session)
        if not self._keep:
            del self.sessions[:-_KEPT_SESSIONS]
        for observer in self.observers:
            observer.opened(session)
        self.changed()

    def end(self, session: SessionRecord) -> None:
        """Record that a session is over."""
        session.closed = True
        for observer in self.observers:
            observer.closed(session)
        self.changed()

    def add(
        self, session: SessionRecord, direction: Literal["received", "sent"], data: str | bytes
    ) -> None:
        """Record a message."""
        message = Message(time.monotonic() - session.opened_at, direction, data)
        session.passed[direction] += 1
        if self._keep:
            session.messages.append(message)
        for observer in self.observers:
            observer.passed(session, message)
        self.changed()

    async def wait_for(self, condition: Callable[[], _T], *, timeout: float = 10.0) -> _T:
        """Wait until a condition over the records holds.

        Args:
            condition: Called at once and after every change; must not block.
            timeout: Seconds.

        Returns:
            The first truthy value of the condition.

        Raises:
            TimeoutError: It didn't hold in time; the text lists the sessions seen.
        """
        value = condition()
        if value:
            return value
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        entry = (condition, future)
        self._waiters.append(entry)
        try:
            return await asyncio.wait_for(future, timeout)
        except asyncio.TimeoutError:
            raise TimeoutError(f"not in {timeout:g} s; sessions: {self._summary()}") from None
        finally:
            self._waiters.remove(entry)

    def _summary(self) -> str:
        return "; ".join(
            f"#{s.number} {s.transport} {s.deployment}/{s.route} status={s.status}"
            f" in={s.passed['received']} out={s.passed['sent']}"
            f" closed={s.closed_by}:{s.close_code}"
            for s in self.sessions
        )
