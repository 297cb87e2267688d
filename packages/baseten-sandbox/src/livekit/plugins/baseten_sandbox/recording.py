"""Sessions as JSON lines, and a recorded server side played again without any model."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from .records import Message, SessionRecord

__all__ = ["Recorder", "Recording", "load_recordings"]


class Recorder:
    """Writes what happens as it happens, one JSON object a line.

    ``{"session": 0, "event": "open", "transport": …, "deployment": …, "route": …, …}``, then
    ``"received"`` and ``"sent"`` with ``"at"`` (seconds since the session began) and ``"text"`` or
    ``"base64"``, and last ``"close"`` with the status, the close code and who ended it. The key is
    never in it.

    Args:
        path: The file; what it held is overwritten.

    Raises:
        OSError: It can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8")

    def opened(self, session: SessionRecord) -> None:
        """A session began."""
        self._write(
            session,
            "open",
            transport=session.transport,
            deployment=session.deployment,
            route=session.route,
            method=session.method,
            path=session.path,
            headers=session.headers,
            authorized=session.authorized,
            request_id=session.request_id,
        )

    def passed(self, session: SessionRecord, message: Message) -> None:
        """A message went one way or the other."""
        if isinstance(message.data, str):
            data = {"text": message.data}
        else:
            data = {"base64": base64.b64encode(message.data).decode()}
        self._write(session, message.direction, at=round(message.at, 6), **data)

    def closed(self, session: SessionRecord) -> None:
        """A session is over."""
        self._write(
            session,
            "close",
            status=session.status,
            code=session.close_code,
            reason=session.close_reason,
            by=session.closed_by,
            faults=session.faults,
        )

    def _write(self, session: SessionRecord, event: str, **fields: Any) -> None:
        if self._file.closed:
            return
        line = {"session": session.number, "event": event, **fields}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class Recording:
    """One recorded session.

    Attributes:
        transport: ``"websocket"`` or ``"http"``.
        deployment: The deployment's id; ``None`` for the Model APIs.
        route: The route.
        status: HTTP status that was answered.
        messages: What went both ways, in order.
        close_code: How a WebSocket ended; ``None`` when the record doesn't say.
        close_reason: With what reason.
        closed_by: Who ended it.
    """

    transport: Literal["websocket", "http"]
    deployment: str | None
    route: str | None
    status: int | None = None
    messages: list[Message] = field(default_factory=list)
    close_code: int | None = None
    close_reason: str = ""
    closed_by: str | None = None


def load_recordings(path: Path) -> list[Recording]:
    """Read a file that `Recorder` wrote, or one made from a trace of a real server.

    Only ``session``, ``event``, and per event ``transport``, ``deployment``, ``at``, ``text`` or
    ``base64``, ``status`` and ``code`` matter, so a trace is easily brought into this form.

    Raises:
        OSError: The file can't be read.
        ValueError: It isn't such a file; the text names the line.
    """
    recordings: dict[Any, Recording] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
            key, kind = event["session"], event["event"]
            if kind == "open":
                recordings[key] = Recording(
                    event["transport"], event.get("deployment"), event.get("route")
                )
            elif kind in ("received", "sent"):
                text = event.get("text")
                data = base64.b64decode(event["base64"]) if text is None else str(text)
                at = float(event.get("at", 0.0))
                recordings[key].messages.append(Message(at, kind, data))
            elif kind == "close":
                recording = recordings[key]
                recording.status = event.get("status")
                recording.close_code = event.get("code")
                recording.close_reason = event.get("reason") or ""
                recording.closed_by = event.get("by")
            else:
                raise ValueError(f"unknown event {kind!r}")
        except (KeyError, TypeError, ValueError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path}, line {number}: not a recording: {what}") from None
    return list(recordings.values())
