"""Whatever a server sends is an answer or one of the failures that are expected."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings, strategies as st

from livekit.agents import APIError
from livekit.agents.llm import ChatChunk
from livekit.plugins.baseten_llm.answers import Answer, FailureFrame
from livekit.plugins.baseten_llm.reasoning import SpokenText

NAMES = [
    "id",
    "choices",
    "delta",
    "message",
    "content",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "index",
    "finish_reason",
    "usage",
    "completion_tokens",
    "prompt_tokens_details",
    "error",
    "object",
    "reasoning_content",
    "text",
]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "stop", "length", "a<", "{}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
deltas = st.fixed_dictionaries({}, optional={"content": values, "tool_calls": values})
choices = st.fixed_dictionaries(
    {}, optional={"delta": deltas | values, "finish_reason": values, "index": values}
)
events = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(choices | values, max_size=2) | values,
        "usage": values,
        "id": values,
    },
)


def heard(pieces: list[bytes]) -> tuple[list[ChatChunk], Exception | None]:
    answer, chunks = Answer(SpokenText()), []
    try:
        for piece in pieces:
            chunks += answer.feed(piece)
        chunks += answer.end()
    except (FailureFrame, ValueError, ConnectionError, APIError) as error:
        return chunks, error
    assert answer.finished
    if (usage := answer.usage()) is not None:
        assert usage.usage.completion_tokens is not None
    return chunks, None


def wire(events: list[Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


@settings(max_examples=500)
@given(st.lists(events, max_size=4), st.booleans())
def test_odd_events(sent: list[Any], done: bool) -> None:
    heard([wire(sent), b"data: [DONE]\n\n" if done else b""])


@given(events | values)
def test_odd_bodies(body: Any) -> None:
    heard([json.dumps(body).encode()])


@given(st.data())
def test_an_answer_is_the_same_however_its_bytes_are_cut(data: st.DataObject) -> None:
    sent = [
        {"id": "x", "choices": [{"delta": {"content": "Où "}}]},
        {"choices": [{"delta": {"content": "<think>hm</think>est-ce 😀?"}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}}]},
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    ]  # fmt: skip
    body = wire(sent) + b"data: [DONE]\n\n"
    places = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=10)))
    pieces = [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]
    chunks, error = heard(pieces)
    assert error is None
    assert "".join(c.delta.content or "" for c in chunks) == "Où est-ce 😀?"
    assert [call.arguments for c in chunks for call in c.delta.tool_calls] == ["{}"]
