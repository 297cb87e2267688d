"""Words with times, put back on the text that they were spoken from."""

from __future__ import annotations

from collections.abc import Iterable

from .protocols import Spoken

__all__ = ["Alignment"]

_WINDOW = 200  # characters ahead in which the next word is looked for


class Alignment:
    """Lays a server's words over the text, so that spaces and punctuation are the text's own.

    The pieces that come out, joined, are the text; their times never go back.
    """

    def __init__(self) -> None:
        """Start with no text."""
        self._text = ""
        self._folded = ""
        self._done = 0
        self._time = 0.0

    def say(self, text: str) -> None:
        """Text that is to be spoken."""
        self._text += text
        self._folded += _fold(text)

    def place(self, words: Iterable[tuple[str, float, float]], *, within: int = 0) -> list[Spoken]:
        """Pieces of the text for words with their start and end.

        Args:
            words: Word, start and end in seconds.
            within: Characters that the words were spoken from, when it is known.
        """
        limit = self._done + max(within, 1) + 16 if within else len(self._text)
        marks: list[tuple[int, float, float]] = []
        cursor = self._done
        for word, start, end in words:
            wanted = _fold(word.strip())
            if not wanted:
                continue
            at = self._folded.find(wanted, cursor, min(cursor + _WINDOW, limit + len(wanted)))
            if at < 0:
                if not marks:
                    marks.append((cursor, start, end))
                continue
            marks.append((at, start, end))
            cursor = at + len(wanted)
        if not marks:
            return []
        stop = self._end_of_word(cursor)
        if within and marks and cursor == self._done:
            stop = self._end_of_word(min(self._done + within, len(self._text)))
        pieces: list[Spoken] = []
        begin = self._done
        for i, (_, start, end) in enumerate(marks):
            until = marks[i + 1][0] if i + 1 < len(marks) else stop
            pieces += self._piece(begin, until, start, end)
            begin = max(begin, until)
        self._done = begin
        return pieces

    def rest(self) -> list[Spoken]:
        """What no word covered, at the time of the last one."""
        pieces = self._piece(self._done, len(self._text), self._time, self._time)
        self._done = len(self._text)
        return pieces

    def _piece(self, begin: int, until: int, start: float, end: float) -> list[Spoken]:
        if until <= begin:
            return []
        start = max(start, self._time)
        end = max(end, start)
        self._time = start
        return [Spoken(self._text[begin:until], start, end)]

    def _end_of_word(self, at: int) -> int:
        while at < len(self._text) and not self._text[at].isspace():
            at += 1
        while at < len(self._text) and self._text[at].isspace():
            at += 1
        return at


def _fold(text: str) -> str:
    # Character by character where one becomes two, so that places in both texts are the same.
    folded = text.lower()
    if len(folded) != len(text):
        folded = "".join(low if len(low := ch.lower()) == 1 else ch for ch in text)
    return folded
