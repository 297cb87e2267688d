"""Whole words out of text that arrives in pieces cut anywhere."""

from __future__ import annotations

import unicodedata

__all__ = ["WordStream", "encodable", "joint", "speakable", "spoken_units"]

_CLAUSE_ENDS = frozenset("。、，！？；：")  # the full-width forms, which only such scripts use
_SPOKEN_SIGNS = frozenset("%&@#")
# Letters that are one sound with the letter before them: small kana, ン, marks of length and of
# repetition, Thai and Lao vowels. And vowels that are written before the letter that they follow.
_LEANING_BACK = frozenset("ぁぃぅぇぉっゃゅょゎんゝゞァィゥェォッャュョヮヵヶンーヽヾะาำๅๆະາຳໆ")
_LEANING_ON = frozenset("เแโใไເແໂໃໄ")
_SHAPES = frozenset("↔◻◼◽◾")  # emoji, which Unicode counts among the signs of mathematics

# Scripts that put no spaces between words, with the longest run to leave in one piece. Han and
# kana syllables are long in time; in Thai and its neighbours a cut can fall inside a word, so
# there it is put off for longer.
_UNSPACED: tuple[tuple[int, int, int], ...] = (
    (0x0E00, 0x0EFF, 48),  # Thai, Lao
    (0x0F00, 0x0FFF, 48),  # Tibetan
    (0x1000, 0x109F, 48),  # Myanmar
    (0x1780, 0x17FF, 48),  # Khmer
    (0x3040, 0x30FF, 12),  # kana
    (0x3400, 0x4DBF, 12),  # Han
    (0x4E00, 0x9FFF, 12),
    (0xF900, 0xFAFF, 12),
    (0x20000, 0x323AF, 12),
)


def _longest_run(ch: str) -> int:
    code = ord(ch)
    if code < 0x0E00:
        return 0
    return next((limit for low, high, limit in _UNSPACED if low <= code <= high), 0)


def speakable(text: str) -> bool:
    """Whether there is anything in the text that a voice can say."""
    return any(
        ch.isalnum()
        or ch in _SPOKEN_SIGNS
        or (unicodedata.category(ch) in ("Sc", "Sm") and ch not in _SHAPES)
        for ch in text
    )


def encodable(text: str) -> str:
    """The text without lone surrogates, which neither a tokenizer nor a server can take."""
    return text if text.isascii() else text.encode("utf-8", "ignore").decode()


def joint(before: str, after: str) -> str:
    """The space between two sentences that a tokenizer has dropped; blank when it hasn't."""
    if not before or before[-1].isspace() or after[:1].isspace() or before[-1] in _CLAUSE_ENDS:
        return ""
    return " "


def spoken_units(word: str) -> int:
    """How many words a frame counts for when its audio is judged.

    Text without spaces counts a word for every four characters begun.
    """
    if not speakable(word):
        return 0
    if word.isascii():
        return 1
    unspaced = sum(1 for ch in word if _longest_run(ch))
    return max(1, -(-unspaced // 4))


class WordStream:
    """Cuts text into the words that ``str.split`` would give, however the text arrives.

    Punctuation stays with its word. A run of a script without spaces is cut after the end of a
    clause, or where it gets too long for a synthesiser that speaks word by word. The cuts depend
    on the characters alone, never on how they were delivered.
    """

    def __init__(self) -> None:
        """Start with no text."""
        self._word = ""
        self._run = 0

    def push(self, text: str) -> list[str]:
        """The words that are complete now that this text has come."""
        if text.isascii() and self._word.isascii():
            words = (self._word + text).split()
            self._word = words.pop() if words and not text[-1:].isspace() else ""
            return words
        words = []
        for ch in text:
            if ch.isspace():
                words += self.end()
                continue
            if self._word and self._ends_before(ch):
                words += self.end()
            self._word += ch
            self._run += 1 if _longest_run(ch) else 0
        return words

    def end(self) -> list[str]:
        """The word that was still open, if any."""
        word = encodable(self._word)
        self._word, self._run = "", 0
        return [word] if word else []

    def _ends_before(self, ch: str) -> bool:
        kind = unicodedata.category(ch)
        if self._word[-1] in _CLAUSE_ENDS:
            return kind[0] in "LN"
        limit = _longest_run(ch)
        if not limit or self._run < limit or kind[0] != "L":
            return False
        return ch not in _LEANING_BACK and self._word[-1] not in _LEANING_ON
