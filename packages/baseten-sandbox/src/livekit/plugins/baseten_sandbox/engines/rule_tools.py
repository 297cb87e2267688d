"""When the rule engine calls a tool, with what arguments, and how it tells the result."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .dialogue import ToolCall
from .example_json import example
from .spoken import spoken, sum_in

__all__ = ["tool_calls", "tool_results"]

# Words too common to tell which tool is meant.
_PLAIN = frozenset(
    [
        "this",
        "that",
        "with",
        "from",
        "have",
        "what",
        "when",
        "where",
        "which",
        "your",
        "about",
        "current",
        "given",
        "tool",
        "call",
        "called",
        "user",
        "used",
        "returns",
        "return",
        "function",
        "information",
        "name",
        "list",
        "please",
        "could",
        "would",
        "there",
        "their",
        "them",
        "they",
        "will",
        "into",
        "some",
        "more",
    ]
)
# What people say when they mean another word.
_MEANS = dict.fromkeys(
    ["rain", "raining", "rainy", "sunny", "sunshine", "snow", "forecast", "temperature"], "weather"
)
_PLACE = re.compile(r"\b(?:in|at|for|of)\s+((?:[A-Z][\w']*\s?)+)")
_MORE_PLACES = re.compile(r"(?:,|\band\b)\s+(?:in\s+)?((?:[A-Z][\w']*\s?)+)")
_PLACE_NAMES = frozenset({"location", "city", "place", "town", "where", "area", "region"})


def tool_calls(request: Mapping[str, Any], heard: str) -> list[ToolCall]:
    """Choose the tools that the user asked for, or that ``tool_choice`` demands."""
    tools = [tool["function"] for tool in request.get("tools") or ()]
    choice = request.get("tool_choice") or "auto"
    if not tools or choice == "none":
        return []
    if isinstance(choice, dict):
        chosen = [tool for tool in tools if tool["name"] == choice["function"]["name"]]
    else:
        chosen = [tool for tool in tools if _asked_for(tool, heard)]
        if not chosen and choice == "required":
            chosen = tools[:1]
    calls = [
        ToolCall(tool["name"], json.dumps(arguments))
        for tool in chosen
        for arguments in _arguments(tool, heard)
    ]
    return calls if request.get("parallel_tool_calls") is not False else calls[:1]


def _asked_for(tool: Mapping[str, Any], heard: str) -> bool:
    meant = [_MEANS.get(word, "") for word in re.findall(r"[a-z]+", heard.lower())]
    words = _stems(f"{heard} {' '.join(meant)}")
    described = _stems(tool.get("description") or "")
    return bool(words & _stems(tool["name"])) or len(words & described) >= 2


def _stems(text: str) -> set[str]:
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower())
    return {word.rstrip("s")[:6] for word in words if len(word) > 3 and word not in _PLAIN}


def _arguments(tool: Mapping[str, Any], heard: str) -> list[dict[str, Any]]:
    """Fill in a tool's parameters from what was heard; one set for each place that was named."""
    schema = tool.get("parameters") or {"type": "object"}
    topic = re.sub(r"[^\w\s']", "", heard).strip() or "anything"
    filled = example(schema, text=topic)
    _put_number(filled, schema, heard)
    spot = next((name for name in filled if name in _PLACE_NAMES), None)
    places = _places(heard)
    if spot is None or not places:
        return [filled]
    return [{**filled, spot: place} for place in places]


def _put_number(filled: dict[str, Any], schema: Mapping[str, Any], heard: str) -> None:
    number = sum_in(heard)
    for name in filled:
        kind = schema["properties"][name].get("type")
        if number is not None and kind in ("integer", "number"):
            filled[name] = int(number) if kind == "integer" else number


def _places(heard: str) -> list[str]:
    first = _PLACE.search(heard)
    if first is None:
        # Not every recogniser writes capitals.
        small = re.search(r"\b(?:in|at|for)\s+(?!the\b|a\b|some\b|me\b|my\b)([a-z']{3,})", heard)
        return [small[1].capitalize()] if small else []
    return [first[1].strip(), *(m[1].strip() for m in _MORE_PLACES.finditer(heard, first.end(1)))]


def tool_results(messages: list[dict[str, Any]]) -> list[str]:
    """Tell each result that the last turn of tools gave, as a sentence; none when the last turn wasn't of tools."""
    told: list[str] = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        content = message["content"]
        if isinstance(content, list):
            content = " ".join(part["text"] for part in content)
        told.append(_sentence(content))
    return told[::-1]


def _sentence(result: str) -> str:
    try:
        value = json.loads(result)
    except ValueError:
        value = result
    if isinstance(value, dict):
        text = ", ".join(f"{key} is {_plain(inner)}" for key, inner in value.items())
    else:
        text = _plain(value)
    text = spoken(text) or "nothing"
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else text + "."


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(_plain(each) for each in value)
    return value if isinstance(value, str) else json.dumps(value)
