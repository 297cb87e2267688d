"""What Baseten's speech deployments say on the wire. Nothing here opens a socket or reads a clock.

A protocol turns text into messages or a request, and what the server answers into
``Event`` objects. A new one is a new module beside these, and one line in :mod:`.registry`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from livekit.plugins.baseten_common import Closed

__all__ = ["LONGEST", "SECONDS_PER_WORD", "Audio", "BodyReader", "Event", "Failed", "Finished"]
__all__ += ["Predict", "Spoken", "Utterance"]

SECONDS_PER_WORD = 0.1
"""Audio shorter than this for each word can't be the whole: it would be 600 words a minute, where
people speak at 150 to 200. A deployment that has no end marker is judged by it."""

LONGEST = 3600.0
"""Seconds of audio beyond which an utterance has none: an endless one must not fill the memory."""


@dataclass(frozen=True)
class Audio:
    """Speech: PCM, 16 bits little endian, mono. A sample may be cut in two between pieces.

    Attributes:
        data: The samples.
        sample_rate: In Hz.
    """

    data: bytes
    sample_rate: int = 24000


@dataclass(frozen=True)
class Spoken:
    """A piece of the text and when it is heard, in seconds from the start of the utterance.

    Attributes:
        text: The piece, with the spaces that follow it.
        start: When it begins.
        end: When it ends; None when that isn't known yet.
    """

    text: str
    start: float
    end: float | None = None


@dataclass(frozen=True)
class Finished:
    """That the utterance is complete.

    Attributes:
        reusable: Whether the connection can take the next one.
    """

    reusable: bool = False


@dataclass(frozen=True)
class Failed:
    """That the utterance isn't complete and won't be.

    Attributes:
        reason: What is wrong, when the client found it.
        payload: What the server said, when it was the server.
        mismatch: Whether the deployment isn't of the kind that the options say.
    """

    reason: str = ""
    payload: object = None
    mismatch: bool = False


Event = Audio | Spoken | Finished | Failed


class Utterance(Protocol):
    """One utterance over a WebSocket."""

    def open(self) -> list[str]:
        """What to send first."""

    def say(self, text: str) -> list[str]:
        """What to send for more text, cut anywhere."""

    def linger(self) -> list[str]:
        """What to send while the text pauses, so that the server goes on waiting for it."""

    def end(self) -> list[str]:
        """What to send after the last of the text."""

    def receive(self, message: str | bytes) -> list[Event]:
        """What a message of the server means."""

    def closed(self, closed: Closed) -> Finished | Failed | None:
        """What it means that the server closed; None when the close code says it all."""

    @property
    def due(self) -> bool:
        """Whether the server owes an answer, so that its silence is a fault."""


class BodyReader(Protocol):
    """Reads the body of an answer to a POST as it streams in."""

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes mean."""

    def end(self) -> list[Event]:
        """What the end of the body means; ends in Finished or Failed."""


class Predict(Protocol):
    """Synthesis by POST."""

    def body(self, text: str) -> dict[str, object]:
        """The JSON to post."""

    def reader(self, text: str, content_type: str) -> BodyReader:
        """Reads the answer to a post of this text."""
