"""A chat engine that says what a test wrote down, in order: answers, failures, silences."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

from .dialogue import Reply, Text

__all__ = ["Script"]


class Script:
    """Plays one written turn per request.

    Args:
        turns: The replies of each turn. A string is a turn that says just that text.
        loop: Start over after the last turn. Otherwise a request past the end is a mistake of the test and fails
            loudly.
    """

    def __init__(self, *turns: str | Reply | Iterable[Reply], loop: bool = False) -> None:
        self._written = [_turn(turn) for turn in turns]
        self._left = deque(self._written)
        self._loop = loop

    @property
    def turns_left(self) -> int:
        """How many written turns nobody has asked for yet."""
        return len(self._left)

    def add(self, *turns: str | Reply | Iterable[Reply]) -> None:
        """Append turns to what is left."""
        self._left.extend(_turn(turn) for turn in turns)

    async def reply(
        self, request: Mapping[str, Any], *, thinks: bool
    ) -> AsyncGenerator[Reply, None]:
        """Play the next turn."""
        if not self._left and self._loop:
            self._left.extend(self._written)
        if not self._left:
            raise LookupError("the script has no turn left for this request")
        for piece in self._left.popleft():
            yield piece


def _turn(turn: str | Reply | Iterable[Reply]) -> list[Reply]:
    if isinstance(turn, str):
        return [Text(turn)]
    return list(turn) if isinstance(turn, Iterable) else [turn]
