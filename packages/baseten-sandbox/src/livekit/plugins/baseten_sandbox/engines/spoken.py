"""Text that is easy to speak: numbers in words, symbols by name, a sentence turned from "I" to "you"."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["in_words", "spoken", "sum_in", "turned_round"]

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))

_SYMBOLS = {
    "°C": " degrees Celsius",
    "°F": " degrees Fahrenheit",
    "°": " degrees",
    "%": " percent",
    "&": " and ",
    "+": " plus ",
    "=": " equals ",
    "$": " dollars ",
    "€": " euros ",
    "@": " at ",
    "/": " ",
    "_": " ",
}


def in_words(number: int | float) -> str:
    """Spell a number out in English: ``-12.5`` is "minus twelve point five"."""
    if number < 0:
        return "minus " + in_words(-number)
    if isinstance(number, float):
        whole, _, digits = f"{number:.6f}".rstrip("0").partition(".")
        if digits:
            return f"{in_words(int(whole))} point {' '.join(_ONES[int(d)] for d in digits)}"
        number = int(whole)
    if number < 20:
        return _ONES[number]
    if number < 100:
        ten, one = divmod(number, 10)
        return _TENS[ten] + (f" {_ONES[one]}" if one else "")
    for scale, name in _SCALES:
        if number >= scale:
            many, rest = divmod(number, scale)
            return f"{in_words(many)} {name}" + (f" {in_words(rest)}" if rest else "")
    raise AssertionError("unreachable")


def spoken(text: str) -> str:
    """Write a text without digits and symbols."""
    for symbol, name in _SYMBOLS.items():
        text = text.replace(symbol, name)
    text = re.sub(r"-?\d{1,12}\.\d{1,6}", lambda m: f" {in_words(float(m[0]))} ", text)
    text = re.sub(r"-?\d{1,12}", lambda m: f" {in_words(int(m[0]))} ", text)
    text = re.sub(r"[^\w\s.,?!']|\d", " ", text)
    return re.sub(r"\s+([.,?!])", r"\1", re.sub(r"\s+", " ", text)).strip()


_TURNED = {
    "i": "you",
    "i'm": "you are",
    "i've": "you have",
    "i'll": "you will",
    "i'd": "you would",
    "me": "you",
    "my": "your",
    "mine": "yours",
    "myself": "yourself",
    "you": "I",
    "you're": "I am",
    "your": "my",
    "yours": "mine",
    "yourself": "myself",
}
_AFTER = {("i", "am"): "are", ("i", "was"): "were", ("you", "are"): "am", ("you", "were"): "was"}
_BEFORE_ME = frozenset(
    [
        "for",
        "to",
        "with",
        "of",
        "at",
        "about",
        "like",
        "than",
        "from",
        "by",
        "on",
        "ask",
        "tell",
        "give",
        "show",
        "thank",
        "love",
        "see",
        "hear",
        "help",
    ]
)


def turned_round(words: Iterable[str]) -> str:
    """Say somebody's words back to them: "I am tired" becomes "you are tired"."""
    words = [*words]
    while len(words) > 3 and words[0].lower() in ("and", "but", "so"):
        del words[0]
    turned: list[str] = []
    previous = ""
    for place, word in enumerate(words, 1):
        low = word.lower()
        if low == "you" and (previous in _BEFORE_ME or place == len(words)):
            turned.append("me")
            continue
        turned.append(_AFTER.get((previous, low)) or _TURNED.get(low) or word)
        previous = low
    if turned and turned[0] != "I":
        # A capital at the start of a sentence isn't one in the middle of another.
        turned[0] = turned[0][:1].lower() + turned[0][1:]
    return " ".join(turned)


_NUMBER_WORDS = {word: value for value, word in enumerate(_ONES)} | {
    word: 10 * ten for ten, word in enumerate(_TENS) if ten > 1
}
_OPERATORS = {"plus": "+", "+": "+", "minus": "-", "-": "-", "times": "*", "multiplied": "*"}
_OPERATORS |= {"x": "*", "*": "*", "divided": "/", "/": "/"}


def sum_in(text: str) -> int | float | None:
    """Work out the sum that a text asks for ("seven plus five"), left to right; None when it asks for none."""
    total: int | float | None = None
    number: int | float | None = None
    operator = "+"
    for token in [*re.findall(r"\d+|[a-z]+|[-+*/]", text.lower()), "end"]:
        if token.isdigit():
            number = int(token)
        elif token in _NUMBER_WORDS:
            number = (number or 0) + _NUMBER_WORDS[token]
        elif token == "hundred" and number is not None:
            number *= 100
        elif number is not None and (token in _OPERATORS or token == "end"):
            if total is None:
                total = number
            elif operator == "/" and number == 0:
                return None
            else:
                total = _apply(operator, total, number)
            number = None
            operator = _OPERATORS.get(token, operator)
    return total


def _apply(operator: str, left: int | float, right: int | float) -> int | float:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    return left * right if operator == "*" else left / right
