"""Turns what a chat engine says into the bytes of a chat completions answer. No I/O."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from ..engines.dialogue import Failure, Finish, Raw, Reasoning, Reply, Text, ToolCall
from .chat_models import ThinkingField

__all__ = ["Answer", "tokens_in"]

_TOKEN = re.compile(r"\s*\S+|\s+")
# A tool call's arguments arrive in pieces of this many characters.
_ARGUMENT_PIECE = 7


def tokens_in(text: str) -> int:
    """Count a text's tokens, as roughly as one word a token."""
    return len(_TOKEN.findall(text))


class Answer:
    """One answer under way: its pieces, its running usage, and how it ended.

    Args:
        request: The request body.
        field: Where reasoning goes.
        cached: How many of the prompt's tokens were cached.
    """

    def __init__(self, request: Mapping[str, Any], *, field: ThinkingField, cached: int) -> None:
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = request["model"]
        self._limit = request.get("max_tokens") or 4096
        self._field = field
        options = request.get("stream_options") or {}
        self._usage_at_end = options.get("include_usage", True) is not False
        self._usage_always = (
            self._usage_at_end and options.get("continuous_usage_stats", True) is not False
        )
        self._prompt_tokens = sum(tokens_in(json.dumps(m)) for m in request["messages"])
        self._cached_tokens = cached
        self._completion_tokens = 0
        self._reasoning_tokens = 0
        self._finish: str | None = None
        self._finished = False
        self._raw = False
        self._thinking = False
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[dict[str, Any]] = []

    def chunks(self, reply: Reply) -> Iterator[bytes]:
        """Yield the wire form of one reply, an event at a time."""
        if isinstance(reply, Raw):
            self._raw = True
            yield reply.data
        elif isinstance(reply, Failure):
            self._raw = True
            yield _event(reply.body)
        elif isinstance(reply, Reasoning):
            yield from self._think(reply.text)
        elif isinstance(reply, Text):
            yield from self._say(reply.text)
        elif isinstance(reply, ToolCall):
            yield from self._call(reply)
        elif isinstance(reply, Finish):
            self._finish, self._finished = reply.reason, True

    def end(self) -> Iterator[bytes]:
        """Yield the finish, the last usage and the end marker, unless raw bytes took their place."""
        if self._raw:
            return
        yield from self._stop_thinking()
        yield self._chunk({}, finish=self._finish_reason())
        if self._usage_at_end:
            yield _event({**self._envelope(), "choices": [], "usage": self._usage()})
        yield b"data: [DONE]\n\n"

    def whole(self) -> dict[str, Any]:
        """Return the answer in its unstreamed form."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._text) or None}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["tool_calls"] = self._calls
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason()}
        envelope = {**self._envelope(), "object": "chat.completion"}
        return {**envelope, "choices": [choice], "usage": self._usage()}

    def _think(self, text: str) -> Iterator[bytes]:
        starts = not self._thinking
        self._thinking = True
        if starts and self._field == "tags":
            yield self._chunk({"content": "<think>"})
        for token in self._counted(text):
            self._reasoning_tokens += 1
            self._reasoning.append(token)
            inline = self._field in ("tags", "orphan-tag")
            yield self._chunk({"content" if inline else self._field: token})

    def _stop_thinking(self) -> Iterator[bytes]:
        if self._thinking and self._field in ("tags", "orphan-tag"):
            # In two pieces, as a tokenizer may well cut it.
            yield self._chunk({"content": "</thi"})
            yield self._chunk({"content": "nk>\n\n"})
        self._thinking = False

    def _say(self, text: str) -> Iterator[bytes]:
        yield from self._stop_thinking()
        for token in self._counted(text):
            self._text.append(token)
            yield self._chunk({"content": token})

    def _call(self, call: ToolCall) -> Iterator[bytes]:
        yield from self._stop_thinking()
        index = len(self._calls)
        call_id = call.id or f"chatcmpl-tool-{uuid.uuid4().hex}"
        function = {"name": call.name, "arguments": call.arguments}
        self._calls.append({"id": call_id, "type": "function", "function": function})
        self._completion_tokens += 1
        opening = {"name": call.name, "arguments": ""}
        yield self._chunk(
            {
                "tool_calls": [
                    {"index": index, "id": call_id, "type": "function", "function": opening}
                ]
            }
        )
        for start in range(0, len(call.arguments), _ARGUMENT_PIECE):
            self._completion_tokens += 1
            piece = {"arguments": call.arguments[start : start + _ARGUMENT_PIECE]}
            yield self._chunk({"tool_calls": [{"index": index, "function": piece}]})

    def _counted(self, text: str) -> Iterator[str]:
        for token in _TOKEN.findall(text):
            if self._completion_tokens >= self._limit:
                self._finish, self._finished = "length", True
                return
            self._completion_tokens += 1
            yield token

    def _finish_reason(self) -> str | None:
        if self._finished:
            return self._finish
        return "tool_calls" if self._calls else "stop"

    def _chunk(self, delta: dict[str, Any], *, finish: str | None = None) -> bytes:
        choice = {
            "index": 0,
            "delta": {"role": "assistant", **delta},
            "logprobs": None,
            "finish_reason": finish,
        }
        event: dict[str, Any] = {**self._envelope(), "choices": [choice]}
        if self._usage_always:
            event["usage"] = self._usage()
        return _event(event)

    def _envelope(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
        }

    def _usage(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": self._prompt_tokens + self._completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self._cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self._reasoning_tokens},
        }


def _event(data: Any) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"
