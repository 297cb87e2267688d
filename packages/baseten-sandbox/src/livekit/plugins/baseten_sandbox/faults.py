"""Faults on demand: what goes wrong, at which point of which connection."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

__all__ = ["ConnectionFaults", "Fault", "FaultAction", "FaultPlan", "FaultPoint", "FaultUnit"]

FaultAction = Literal[
    "status",
    "park",
    "reset",
    "eof",
    "close",
    "finish",
    "silence",
    "mute",
    "send",
    "drop",
    "duplicate",
    "delay",
    "replace",
    "swap",
]
FaultPoint = Literal["handshake", "open", "receive", "send"]
FaultUnit = Literal["messages", "bytes", "words"]

_MANGLING = frozenset({"drop", "duplicate", "delay", "replace", "swap"})


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong on one connection.

    Points (``on``), seen from the sandbox: ``"handshake"`` before a request or an upgrade is
    answered; ``"open"`` right after a WebSocket opened; ``"receive"`` and ``"send"`` while
    messages pass (on HTTP only ``"send"``: the pieces of the body).

    Actions (``do``):

    * ``"status"`` (handshake): answer with ``status``, ``headers`` and ``body`` (a JSON value, or
      a string or bytes sent as they are; a 200 with JSON where audio is due is such a fault).
    * ``"park"`` (handshake): don't answer for ``seconds`` (``None``: never), then go on, or answer
      ``status`` when ``body`` is given too.
    * ``"reset"``: TCP RST. ``"eof"``: the TCP stream ends with no close frame, no end of body.
    * ``"close"``: close with ``code`` and ``reason``. ``"finish"``: end as if all were done
      (close 1000; a cleanly ended, short HTTP body).
    * ``"silence"``: half-open; the socket stays, nothing is read, answered or ponged any more.
    * ``"mute"``: everything is read, pings are answered, but no message goes out any more.
    * ``"send"``: send ``payload`` as an extra message.
    * ``"drop"``, ``"duplicate"``, ``"delay"`` (by ``seconds``), ``"replace"`` (by ``payload``):
      mangle ``count`` messages; for ``"receive"`` the server sees what is left.
    * ``"swap"`` (``"send"`` on a WebSocket): a message goes out after the one that follows it.

    Attributes:
        do: The action.
        on: The point.
        after: How much passes untouched first, in ``unit``. The ending actions strike the moment
            that much has passed (0: in place of the first message); the mangling ones touch the
            messages that follow.
        unit: What ``after`` counts. HTTP bodies are cut at exactly that byte.
        kind: Count only text or only binary messages.
        match: Count only messages that hold this substring, or JSON objects that hold these items.
        count: How many messages a mangling action touches; ``None`` for all.
        status: HTTP status.
        headers: Extra headers of that answer, such as ``Retry-After``.
        body: Body of that answer.
        code: WebSocket close code.
        reason: WebSocket close reason.
        seconds: Length of a ``"park"`` or ``"delay"``.
        payload: What ``"send"`` and ``"replace"`` put on the wire; a mapping or list goes as JSON.
    """

    do: FaultAction
    on: FaultPoint = "open"
    after: int = 0
    unit: FaultUnit = "messages"
    kind: Literal["any", "text", "binary"] = "any"
    match: str | Mapping[str, Any] | None = None
    count: int | None = 1
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    code: int = 1011
    reason: str = "Internal Server Error (in model/chainlet)."
    seconds: float | None = None
    payload: Any = b""

    def __post_init__(self) -> None:
        if self.do in ("status", "park"):
            object.__setattr__(self, "on", "handshake")
        # Faults also come from files and over HTTP, where no type checker looked at them.
        for name, allowed in (("do", FaultAction), ("on", FaultPoint), ("unit", FaultUnit)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} is one of {', '.join(get_args(allowed))}")
        for name in ("after", "status", "code"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"{name} must be a whole number")
        if self.after < 0:
            raise ValueError("after counts what passes first: it can't be negative")
        if self.do in _MANGLING and self.on not in ("receive", "send"):
            raise ValueError(f'do="{self.do}" needs on="receive" or on="send"')
        if self.do == "swap" and self.on != "send":
            raise ValueError('do="swap" needs on="send"')
        if self.do == "delay" and self.seconds is None:
            raise ValueError('do="delay" needs seconds')
        if self.do in _MANGLING and self.unit != "messages":
            raise ValueError(f'do="{self.do}" counts messages')

    @property
    def mangles(self) -> bool:
        """Whether it touches messages instead of ending or adding something."""
        return self.do in _MANGLING

    @property
    def wire_payload(self) -> str | bytes:
        """The payload as it goes on the wire."""
        if isinstance(self.payload, (str, bytes)):
            return self.payload
        return json.dumps(self.payload)

    def counts(self, data: str | bytes) -> bool:
        """Whether a message is one that this fault counts."""
        if self.kind != "any" and (self.kind == "text") != isinstance(data, str):
            return False
        if self.match is None:
            return True
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
        if isinstance(self.match, str):
            return self.match in text
        try:
            parsed = json.loads(text)
        except ValueError:
            return False
        return isinstance(parsed, dict) and all(
            key in parsed and parsed[key] == value for key, value in self.match.items()
        )

    def size(self, data: str | bytes) -> int:
        """How much a message adds to the count."""
        if self.unit == "messages":
            return 1
        if self.unit == "words":
            return len(data.split()) if isinstance(data, str) else 0
        return len(data if isinstance(data, bytes) else data.encode())


@dataclass
class _Progress:
    fault: Fault
    passed: int = 0
    touched: int = 0
    spent: bool = False


class ConnectionFaults:
    """The faults of one connection, and how far each has counted."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self._progress = [_Progress(fault) for fault in faults]

    def begin(self, point: Literal["handshake", "open"]) -> list[Fault]:
        """Faults due at this point, each once."""
        due = [p for p in self._progress if p.fault.on == point and not p.spent]
        for progress in due:
            progress.spent = True
        return [p.fault for p in due]

    def before(self, point: Literal["receive", "send"], data: str | bytes) -> list[Fault]:
        """Faults that touch this message, or strike in its place."""
        due = []
        for p in self._progress:
            fault = p.fault
            if fault.on != point or p.spent or not fault.counts(data):
                continue
            if fault.mangles:
                if p.passed >= fault.after:
                    p.touched += 1
                    p.spent = fault.count is not None and p.touched >= fault.count
                    due.append(fault)
            elif fault.after == 0:
                p.spent = True
                due.append(fault)
        return due

    def passed(self, point: Literal["receive", "send"], data: str | bytes) -> list[Fault]:
        """Faults that strike now that this message has passed."""
        due = []
        for p in self._progress:
            if p.fault.on != point or p.spent or not p.fault.counts(data):
                continue
            p.passed += p.fault.size(data)
            if not p.fault.mangles and p.passed >= p.fault.after:
                p.spent = True
                due.append(p.fault)
        return due

    def waiting(self, point: FaultPoint) -> bool:
        """Whether a fault is still to come at this point."""
        return any(p.fault.on == point and not p.spent for p in self._progress)

    def room(self) -> int | None:
        """Bytes that may still be sent before a fault counted in bytes strikes."""
        left = [
            p.fault.after - p.passed
            for p in self._progress
            if p.fault.on == "send" and p.fault.unit == "bytes" and not p.spent
        ]
        return min(left) if left else None


@dataclass
class _Script:
    faults: tuple[Fault, ...]
    times: int | None
    deployment: str | None
    transport: str | None


class FaultPlan:
    """The faults to come. Each new connection takes the first entry that fits it."""

    def __init__(self) -> None:
        self._scripts: list[_Script] = []
        self._random: random.Random | None = None
        self._rate = 0.0
        self._choices: tuple[Fault, ...] = ()
        self._spread = 0

    def add(
        self,
        *faults: Fault,
        times: int | None = 1,
        deployment: str | None = None,
        transport: Literal["websocket", "http"] | None = None,
    ) -> None:
        """Queue faults for a connection to come.

        All faults of one call happen to one connection. Entries are used up in order, one a
        connection: ``add(a); add(b)`` strikes the next with ``a`` and the one after it with ``b``.
        An ``add()`` without faults lets one connection pass unharmed.

        Args:
            *faults: What happens to that connection.
            times: How many connections take this entry; ``None`` for all.
            deployment: Only connections to this deployment.
            transport: Only WebSockets, or only HTTP requests.
        """
        self._scripts.append(_Script(faults, times, deployment, transport))

    def clear(self) -> None:
        """Forget every fault that no connection has taken yet, the random ones too."""
        self._scripts.clear()
        self._random = None

    def at_random(
        self, choices: Sequence[Fault], *, rate: float, seed: int, spread: int = 50
    ) -> None:
        """Strike connections at random, the same ones for the same seed.

        Args:
            choices: Faults to choose from.
            rate: Share of connections that are struck, 0 to 1.
            seed: Seed of the sequence.
            spread: Each fault's ``after`` is raised by 0 to this many.
        """
        if not 0.0 <= rate <= 1.0:
            raise ValueError("rate is a share: 0 to 1")
        if not choices:
            raise ValueError("choices needs at least one Fault")
        self._random = random.Random(seed)
        self._rate, self._choices, self._spread = rate, tuple(choices), spread

    @property
    def pending(self) -> int:
        """Entries that are still queued."""
        return len(self._scripts)

    def take(self, deployment: str | None, transport: str) -> ConnectionFaults:
        """The faults for a connection that begins now."""
        for script in self._scripts:
            if script.deployment not in (None, deployment):
                continue
            if script.transport not in (None, transport):
                continue
            if script.times is not None:
                script.times -= 1
                if script.times <= 0:
                    self._scripts.remove(script)
            return ConnectionFaults(script.faults)
        if self._random is not None and self._random.random() < self._rate:
            fault = self._random.choice(self._choices)
            return ConnectionFaults(
                [replace(fault, after=fault.after + self._random.randint(0, self._spread))]
            )
        return ConnectionFaults()
