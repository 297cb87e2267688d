"""What each turn's waiting was made of, from the end of the user's speech to the first sound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["STAGES", "Turn", "Turns"]

STAGES = ("final", "turn_end", "first_token", "first_audio", "heard")
"""Stages of a turn, as they usually follow each other.

``final`` is the final transcript, ``turn_end`` the decision that the user is done, ``first_token``
the model's, ``first_audio`` the first audio that leaves for the browser, and ``heard`` when the
browser begins to play it.
"""


@dataclass
class Turn:
    """One turn of the conversation.

    Attributes:
        number: 1 for the first.
        speech_end: Wall-clock time when the user fell silent; all else counts from it.
        typed: Whether the user typed: then it is when the words came.
        marks: Wall-clock time of each stage reached.
        begun: Wall-clock time when the work for a stage began, where that is known.
    """

    number: int
    speech_end: float
    typed: bool = False
    marks: dict[str, float] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)

    def message(self) -> dict[str, Any]:
        """The turn as the page draws it: milliseconds since the end of the speech."""
        stages = []
        previous = self.speech_end
        for stage in STAGES:
            end = self.marks.get(stage)
            if end is None:
                continue
            start = min(self.begun.get(stage, previous), end)
            stages.append(
                {
                    "stage": stage,
                    "start": _milliseconds(start - self.speech_end),
                    "end": _milliseconds(end - self.speech_end),
                }
            )
            previous = max(previous, end)
        return {"number": self.number, "typed": self.typed, "stages": stages}


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))


class Turns:
    """Sorts a session's events into turns.

    A reply may be prepared before the turn is decided to be over, so the model's first token can
    come first; it is held until the turn it belongs to is known.
    """

    def __init__(self) -> None:
        self._count = 0
        self._final_at: float | None = None
        self._token: tuple[float, float] | None = None
        self._turn: Turn | None = None

    def final(self, at: float) -> None:
        """A final transcript came."""
        self._final_at = at

    def committed(self, at: float, *, speech_end: float | None) -> Turn:
        """The user's turn is over.

        Args:
            at: When that was decided.
            speech_end: When the user fell silent; ``None`` for typed words.
        """
        self._count += 1
        turn = Turn(
            self._count,
            at if speech_end is None else min(speech_end, at),
            typed=speech_end is None,
        )
        if speech_end is not None:
            if self._final_at is not None and self._final_at <= at:
                turn.marks["final"] = max(self._final_at, turn.speech_end)
            turn.marks["turn_end"] = at
        if self._token is not None and self._token[1] >= turn.speech_end:
            self._set_token(turn, *self._token)
        self._token = self._final_at = None
        self._turn = turn
        return turn

    def first_token(self, asked: float, at: float) -> Turn | None:
        """The model began to answer.

        Args:
            asked: When it was asked.
            at: When its first token came.
        """
        turn = self._turn
        if turn is None or "first_token" in turn.marks or at < turn.speech_end:
            self._token = (asked, at)
            return None
        self._set_token(turn, asked, at)
        return turn

    def answered(self, ttft: float, ttfb: float) -> Turn | None:
        """The reply is over, and tells how long its parts took.

        Args:
            ttft: Seconds from asking the model to its first token.
            ttfb: Seconds from the first token to the first audio.
        """
        turn = self._turn
        if turn is None or "first_audio" not in turn.marks or "first_token" in turn.marks:
            return None
        at = max(turn.marks["first_audio"] - ttfb, turn.speech_end)
        return self.first_token(at - ttft, at)

    @staticmethod
    def _set_token(turn: Turn, asked: float, at: float) -> None:
        turn.marks["first_token"] = at
        turn.begun["first_token"] = max(asked, turn.speech_end)

    def first_audio(self, at: float) -> Turn | None:
        """The first audio of a reply left for the browser."""
        return self._mark("first_audio", at)

    def heard(self, at: float) -> Turn | None:
        """The browser began to play it."""
        turn = self._mark("heard", at)
        return turn if turn is not None and "first_audio" in turn.marks else None

    def _mark(self, stage: str, at: float) -> Turn | None:
        turn = self._turn
        if turn is None or stage in turn.marks:
            return None
        turn.marks[stage] = at
        return turn
