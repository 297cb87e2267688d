"""A chat engine made of rules: answers like a polite person on the phone, without any model.

It is for showing a dialogue where no LLM is at hand. What it says is easy to speak and to write down again: plain
words, no digits, no symbols.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from .dialogue import Reasoning, Reply, Text, ToolCall
from .example_json import example
from .rule_tools import tool_calls, tool_results
from .spoken import in_words, spoken, sum_in, turned_round

__all__ = ["RuleEngine", "last_words"]

_GREETING = "Hello, it is good to hear from you. How can I help you today?"
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
# Longer restatements are tiring to listen to.
_MOST_WORDS = 16


class RuleEngine:
    """Answers by the first rule that fits.

    Args:
        now: Tells the time of day; for answers that don't depend on the clock, hand in a fixed one.
    """

    def __init__(self, *, now: Callable[[], datetime.datetime] = datetime.datetime.now) -> None:
        self._now = now

    async def reply(
        self, request: Mapping[str, Any], *, thinks: bool
    ) -> AsyncGenerator[Reply, None]:
        """Answer the dialogue's last turn."""
        if thinks:
            yield Reasoning("The user wants an answer. I will keep it short.")
        messages = request["messages"]
        form = (request.get("response_format") or {}).get("type")
        heard = last_words(messages)
        if results := tool_results(messages):
            said = "Here is what I found. " + " ".join(results)
        elif calls := tool_calls(request, heard):
            for call in calls:
                yield ToolCall(call.name, call.arguments)
            return
        else:
            said = self._answer(heard, _shows_image(messages))
        if form == "json_schema":
            schema = request["response_format"]["json_schema"]["schema"]
            said = json.dumps(example(schema, text=said))
        elif form == "json_object":
            said = json.dumps({"answer": said})
        yield Text(said)

    def _answer(self, heard: str, image: bool) -> str:
        if image:
            return "Thank you for the picture. I can see it, but I would rather hear about it from you."
        low = heard.lower()
        for pattern, rule in _RULES:
            match = re.search(pattern, low)
            if match and (answer := rule(self._now(), match, heard)):
                return answer
        return _restated(heard)


def last_words(messages: list[dict[str, Any]]) -> str:
    """Return the text of the last turn that wants an answer; empty when nobody has spoken yet."""
    for message in reversed(messages):
        if message["role"] in ("user", "system"):
            content = message["content"]
            if isinstance(content, list):
                content = " ".join(part.get("text", "") for part in content)
            return str(content).strip()
    return ""


def _shows_image(messages: list[dict[str, Any]]) -> bool:
    content = messages[-1].get("content")
    return isinstance(content, list) and any(part["type"] == "image_url" for part in content)


def _restated(heard: str) -> str:
    words = re.findall(r"[A-Za-z']+", spoken(heard))
    if not words:
        return "I am sorry, I did not catch that. Could you say it again?"
    question = heard.rstrip().endswith("?") or words[0].lower() in _QUESTION_WORDS
    if question:
        return "That is a good question. I do not know for sure, but I would be glad to think about it with you."
    if words[0].lower() in _ORDER_WORDS:
        return "I would gladly do that, but I can only talk with you for now."
    if len(words) > _MOST_WORDS:
        words = re.findall(r"[A-Za-z']+", re.split(r"[,.;:!]", spoken(heard), maxsplit=1)[0])
    if not 3 <= len(words) <= _MOST_WORDS:
        return "Thank you for telling me that. Which part of it matters most to you?"
    joint = "" if words[0].lower() == "that" else "that "
    return f"You said {joint}{turned_round(words)}. Would you like to tell me more about it?"


_QUESTION_WORDS = frozenset(
    [
        "what",
        "who",
        "whom",
        "whose",
        "where",
        "when",
        "why",
        "which",
        "how",
        "is",
        "are",
        "am",
        "was",
        "were",
        "do",
        "does",
        "did",
        "can",
        "could",
        "will",
        "would",
        "shall",
        "should",
        "may",
        "might",
        "have",
        "has",
        "had",
    ]
)
_ORDER_WORDS = frozenset(
    [
        "please",
        "tell",
        "give",
        "show",
        "play",
        "open",
        "turn",
        "set",
        "call",
        "send",
        "find",
        "make",
        "write",
        "read",
        "put",
        "stop",
        "start",
    ]
)


def _time(now: datetime.datetime, match: re.Match[str], heard: str) -> str:
    half = "in the morning" if now.hour < 12 else "in the afternoon"
    half = "in the evening" if now.hour >= 18 else half
    minute = f"{in_words(now.minute)} minutes past " if now.minute else ""
    return f"It is {minute}{in_words((now.hour - 1) % 12 + 1)} {half}."


def _date(now: datetime.datetime, match: re.Match[str], heard: str) -> str:
    day, month = _DAYS[now.weekday()], _MONTHS[now.month - 1]
    return f"Today is {day}, day {in_words(now.day)} of {month}."


def _sum(now: datetime.datetime, match: re.Match[str], heard: str) -> str | None:
    result = sum_in(heard)
    return None if result is None else f"That makes {in_words(result)}."


def _person(now: datetime.datetime, match: re.Match[str], heard: str) -> str:
    who = turned_round(match["who"].split())
    return f"I do not know much about {who}. What would you like to know?"


def _says(answer: str) -> Callable[[datetime.datetime, re.Match[str], str], str]:
    return lambda now, match, heard: answer


_SHORT = r"yes|yeah|no|nope|okay|ok|sure|right|well|alright|all right|maybe|perhaps"

_RULES: tuple[tuple[str, Callable[[datetime.datetime, re.Match[str], str], str | None]], ...] = (
    (r"\bgreet\b|^you are\b|^your (job|task) is\b|^$", _says(_GREETING)),
    (r"\bwhat('s| is)? (the )?time\b|\bwhat time\b|\btime is it\b", _time),
    (r"\b(what|which) (day|date)\b|\b(today's|the) date\b|\bwhat('s| is) today\b", _date),
    (r"\b(plus|minus|times|multiplied|divided)\b|\d\s*[-+*/x]\s*\d", _sum),
    (
        r"\b(who are you|your name|what are you)\b",
        _says("I am your voice assistant, and I am here to help you."),
    ),
    (r"\bwho (is|was|are|were) (?P<who>[a-z' ]{2,60})", _person),
    (r"\bhow are you\b", _says("I am very well, thank you. How are you?")),
    (
        r"\b(weather|rain|raining|sunny|forecast)\b.*\?|\b(what|how)\b.*\bweather\b",
        _says("I can not look outside from here, but I hope it is pleasant where you are."),
    ),
    (r"\b(joke|funny)\b", _says("Why did the clock go to school? It wanted to learn the time.")),
    (r"^\W*(hello|hi|hey|good (morning|afternoon|evening))\b(\W+\w+){0,4}\W*$", _says(_GREETING)),
    (r"\b(thank you|thanks)\b", _says("You are welcome. Is there anything else I can do for you?")),
    (r"\b(goodbye|good bye|bye|see you)\b", _says("Goodbye, and have a pleasant day.")),
    (
        r"\b(can|could) you (help|hear)\b|^\W*help\b|\bare you (still )?there\b",
        _says("Yes, I can hear you well, and I am glad to help. What is it about?"),
    ),
    (
        rf"^\W*({_SHORT})(\W+({_SHORT}|please|then))*\W*$",
        _says("All right. What would you like to talk about?"),
    ),
)
