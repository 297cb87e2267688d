"""Reads the body of a streamed answer: server-sent events with JSON in them. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

__all__ = ["DONE", "EventReader"]

DONE = "[DONE]"
"""What the last event says, in place of JSON."""

# A comment has no name.
_FIELDS = frozenset({b"", b"data", b"event", b"id", b"retry"})
# Far above any event; an endless one must not fill the memory.
_LONGEST_EVENT = 16 * 2**20


class EventReader:
    """Takes bytes as they come and gives out whole events.

    Lines end in LF, CRLF or CR and comments are skipped, as
    https://html.spec.whatwg.org/multipage/server-sent-events.html has it.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._name = b""
        self._size = 0

    def feed(self, received: bytes) -> Iterator[dict[str, Any] | str]:
        """Yield the events that these bytes complete: decoded JSON objects, or :data:`DONE`.

        Raises:
            ValueError: an event isn't a JSON object or is beyond all measure, or what comes is no
                stream of events.
        """
        # A CR at the very end may be half of a CRLF.
        unsearched = max(0, len(self._rest) - 1)
        self._rest += received
        end = len(self._rest)
        cut = 1 + max(
            self._rest.rfind(b"\n", unsearched), self._rest.rfind(b"\r", unsearched, end - 1)
        )
        lines = bytes(self._rest[:cut])
        del self._rest[:cut]
        if len(self._rest) + self._size > _LONGEST_EVENT:
            raise ValueError("an event of the answer is too long")
        for line in lines.splitlines():
            if line.startswith(b"data:"):
                self._data.append(line[5:].strip())
                self._size += len(line)
            elif line.startswith(b"event:"):
                self._name = line[6:].strip()
            elif line:
                # The standard skips fields that it doesn't know. No server sends any, so this is
                # what is left of a garbled event, and a word would be missing.
                if line.partition(b":")[0] not in _FIELDS:
                    raise ValueError("the answer holds lines that are no events")
            else:
                name, self._name = self._name, b""
                if self._data:
                    event = self._event()
                    # An error that is told apart by the event's name alone.
                    yield {"error": event} if name == b"error" else event

    def _event(self) -> dict[str, Any] | str:
        data = b"\n".join(self._data)
        self._data.clear()
        self._size = 0
        if data == b"[DONE]":
            return DONE
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            raise ValueError("an event of the answer isn't JSON") from None
        if not isinstance(event, dict):
            raise ValueError("an event of the answer isn't a JSON object")
        return event
