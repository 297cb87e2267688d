"""What the sessions are about, in words: what is heard, spoken and answered."""

from __future__ import annotations

import json
import unicodedata
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .deployments import Serves
from .records import Message, SessionRecord

__all__ = ["Activities", "Activity", "Event", "printable"]

Event = Literal["opened", "heard", "spoke", "answered", "fault", "closed"]
"""What happened in a session; ``heard``, ``spoke`` and ``answered`` come with a text."""

_KEPT = 200
_LONGEST = 2000  # characters of a text that are kept


def printable(text: str) -> str:
    """A text on one line, without what a terminal would take for a command."""
    kept = (" " if unicodedata.category(char).startswith(("C", "Z")) else char for char in text)
    return " ".join("".join(kept).split())


@dataclass
class Activity:
    """One session in words.

    Attributes:
        record: Its record.
        verb: ``"heard"``, ``"spoke"``, ``"answered"``, or nothing yet.
        text: What was; the latest of it.
        settled: Whether the text is final.
        received: Bytes from the client.
        sent: Bytes to the client.
    """

    record: SessionRecord
    verb: str = ""
    text: str = ""
    settled: bool = True
    received: int = 0
    sent: int = 0
    faults_told: int = 0
    stream: str = field(default="", repr=False)

    def settle(self, verb: Event, text: str) -> list[tuple[Event, str]]:
        """Set the text for good, and tell of it unless it is empty."""
        self.verb, self.text, self.settled = verb, printable(text[:_LONGEST]), True
        self.stream = ""
        return [(verb, self.text)] if self.text else []

    def develop(self, verb: Event, text: str) -> list[tuple[Event, str]]:
        """Set a text that may still change."""
        self.verb, self.text, self.settled = verb, printable(text[:_LONGEST]), False
        return []


_Read = Callable[[Activity, Message], list[tuple[Event, str]]]


def _object(data: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _segments(value: dict[str, Any]) -> str:
    segments = value.get("segments")
    if not isinstance(segments, list):
        return ""
    return " ".join(str(s.get("text", "")) for s in segments if isinstance(s, dict))


def _transcripts(activity: Activity, message: Message) -> list[tuple[Event, str]]:
    if message.direction != "sent" or not isinstance(message.data, str):
        return []
    value = _object(message.data)
    if value.get("type") != "transcription":
        return []
    text = _segments(value)
    if value.get("is_final"):
        return activity.settle("heard", text)
    return activity.develop("heard", text)


def _batch_transcript(activity: Activity, message: Message) -> list[tuple[Event, str]]:
    if message.direction != "sent":
        return []
    return activity.settle("heard", _segments(_object(message.data)))


def _body_text(key: str) -> _Read:
    def read(activity: Activity, message: Message) -> list[tuple[Event, str]]:
        if message.direction != "received":
            return []
        return activity.settle("spoke", str(_object(message.data).get(key, "")))

    return read


def _orpheus_words(activity: Activity, message: Message) -> list[tuple[Event, str]]:
    first = activity.record.passed["received"] <= 1
    if message.direction != "received" or first or not isinstance(message.data, str):
        return []
    if message.data == "__END__":
        return activity.settle("spoke", activity.stream)
    activity.stream = f"{activity.stream} {message.data}"[-_LONGEST:]
    return activity.develop("spoke", activity.stream)


def _qwen_text(activity: Activity, message: Message) -> list[tuple[Event, str]]:
    if message.direction != "received" or not isinstance(message.data, str):
        return []
    value = _object(message.data)
    if value.get("type") == "input.text":
        activity.stream = f"{activity.stream}{value.get('text', '')}"[-_LONGEST:]
        return activity.develop("spoke", activity.stream)
    if value.get("type") == "input.done":
        return activity.settle("spoke", activity.stream)
    return []


def _completion(activity: Activity, message: Message) -> list[tuple[Event, str]]:
    if message.direction != "sent" or activity.record.status not in (None, 200):
        return []
    text = message.data if isinstance(message.data, str) else message.data.decode(errors="replace")
    events: list[tuple[Event, str]] = []
    for line in text.splitlines():
        if line.strip() == "data: [DONE]":
            return activity.settle("answered", activity.stream)
        for choice in _choices(_object(line.removeprefix("data:"))):
            delta = choice.get("delta") or choice.get("message")
            content = delta.get("content") if isinstance(delta, dict) else None
            if isinstance(content, str):
                activity.stream = (activity.stream + content)[-_LONGEST:]
                events = activity.develop("answered", activity.stream)
            if "message" in choice:
                events = activity.settle("answered", activity.stream)
    return events


def _choices(value: dict[str, Any]) -> list[dict[str, Any]]:
    choices = value.get("choices")
    return [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []


_READERS: dict[Serves, _Read] = {
    "whisper": _transcripts,
    "qwen3-asr": _transcripts,
    "whisper-batch": _batch_transcript,
    "orpheus": _body_text("prompt"),
    "orpheus-ws": _orpheus_words,
    "qwen3-tts": _qwen_text,
    "json-tts": _body_text("text"),
    "chat": _completion,
}


class Activities:
    """Follows the sessions of a sandbox; an `Observer`.

    Args:
        serves: What a deployment serves, by its id; ``None`` for an unknown one.
        tell: Called for each event with its text.
    """

    def __init__(
        self,
        serves: Callable[[str], Serves | None],
        tell: Callable[[Activity, Event, str], None],
    ) -> None:
        self._serves = serves
        self._tell = tell
        self._by_number: dict[int, Activity] = {}
        self.latest: deque[Activity] = deque(maxlen=_KEPT)
        self.count = 0
        self.faults = 0

    @property
    def open(self) -> int:
        """Sessions that are open now."""
        return len(self._by_number)

    def opened(self, session: SessionRecord) -> None:
        """A session began."""
        activity = Activity(session)
        self.count += 1
        self._by_number[session.number] = activity
        self.latest.append(activity)
        self._tell(activity, "opened", "")

    def passed(self, session: SessionRecord, message: Message) -> None:
        """A message went one way or the other."""
        activity = self._by_number.get(session.number)
        if activity is None:
            return
        size = len(message.data)
        if message.direction == "received":
            activity.received += size
        else:
            activity.sent += size
        read = self._reader(session)
        if read is not None:
            for event, text in read(activity, message):
                self._tell(activity, event, text)
        self._tell_faults(activity)

    def closed(self, session: SessionRecord) -> None:
        """A session is over."""
        activity = self._by_number.pop(session.number, None)
        if activity is None:
            return
        self._tell_faults(activity)
        activity.stream = ""
        self._tell(activity, "closed", "")

    def look(self) -> None:
        """Tell of faults that struck without any message."""
        for activity in list(self._by_number.values()):
            self._tell_faults(activity)

    def _reader(self, session: SessionRecord) -> _Read | None:
        if session.deployment is None:
            return _completion if session.route == "v1/chat/completions" else None
        serves = self._serves(session.deployment)
        return None if serves is None else _READERS[serves]

    def _tell_faults(self, activity: Activity) -> None:
        new = activity.record.faults[activity.faults_told :]
        activity.faults_told += len(new)
        self.faults += len(new)
        for fault in new:
            self._tell(activity, "fault", printable(fault))
