"""The closed schema of a chat completions request, and how a request is judged by it.

Written from Baseten's reference page for chat completions
(https://docs.baseten.co/reference/inference-api/chat-completions), whose schema refuses fields it doesn't name.
``reasoning_effort`` is newer than that schema and comes from
https://docs.baseten.co/inference/model-apis/reasoning.

The schema is plain JSON Schema (draft 2020-12), so that a client's tests can judge their request bodies by the very
same document.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

__all__ = ["CHAT_COMPLETIONS", "fault_in"]

Schema = dict[str, Any]


def _closed(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _number(low: float | None = None, high: float | None = None, *, kind: str = "number") -> Schema:
    bounds: Schema = {"type": [kind, "null"]}
    if low is not None:
        bounds["minimum"] = low
    if high is not None:
        bounds["maximum"] = high
    return bounds


_STRING: Schema = {"type": "string"}
_TEXT: Schema = {"type": ["string", "null"]}
_FLAG: Schema = {"type": ["boolean", "null"]}
_OBJECT: Schema = {"type": "object"}

_TEXT_PART = _closed(("type", "text"), type={"const": "text"}, text=_STRING)
_IMAGE_PART = _closed(
    ("type", "image_url"),
    type={"const": "image_url"},
    image_url=_closed(
        ("url",),
        url={"type": "string", "pattern": "^(https://|data:image/)"},
        detail={"enum": ["auto", "low", "high"]},
    ),
)
_AUDIO_PART = _closed(
    ("type", "input_audio"),
    type={"const": "input_audio"},
    input_audio=_closed(("data", "format"), data=_STRING, format={"enum": ["wav", "mp3"]}),
)

_TOOL_CALL = _closed(
    ("id", "type", "function"),
    id=_STRING,
    type={"const": "function"},
    function=_closed(("name", "arguments"), name=_STRING, arguments=_STRING),
    index=_number(0, kind="integer"),
)


def _content(*parts: Schema, empty: bool = False) -> Schema:
    kinds: list[Schema] = [_STRING, {"type": "array", "items": {"anyOf": list(parts)}}]
    return {"anyOf": [*kinds, {"type": "null"}] if empty else kinds}


# One entry a role: there is no `developer`.
_MESSAGES: dict[str, Schema] = {
    "system": _closed(
        ("role", "content"), role={"const": "system"}, content=_content(_TEXT_PART), name=_TEXT
    ),
    "user": _closed(
        ("role", "content"),
        role={"const": "user"},
        content=_content(_TEXT_PART, _IMAGE_PART, _AUDIO_PART),
        name=_TEXT,
    ),
    "assistant": _closed(
        ("role",),
        role={"const": "assistant"},
        content=_content(_TEXT_PART, empty=True),
        name=_TEXT,
        refusal=_TEXT,
        reasoning_content=_TEXT,
        tool_calls={"type": "array", "items": _TOOL_CALL, "minItems": 1},
    ),
    "tool": _closed(
        ("role", "content", "tool_call_id"),
        role={"const": "tool"},
        content=_content(_TEXT_PART),
        tool_call_id=_STRING,
        name=_TEXT,
    ),
}

_TOOL = _closed(
    ("type", "function"),
    type={"const": "function"},
    function=_closed(
        ("name",),
        name={"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        description=_TEXT,
        parameters={"type": ["object", "null"]},
        strict=_FLAG,
    ),
)

_TOOL_CHOICE: Schema = {
    "anyOf": [
        {"enum": ["none", "auto", "required", None]},
        _closed(
            ("type", "function"),
            type={"const": "function"},
            function=_closed(("name",), name=_STRING),
        ),
    ]
}

_RESPONSE_FORMAT: Schema = {
    "anyOf": [
        {"type": "null"},
        _closed(("type",), type={"const": "text"}),
        _closed(("type",), type={"const": "json_object"}),
        _closed(
            ("type", "json_schema"),
            type={"const": "json_schema"},
            json_schema=_closed(
                ("name", "schema", "strict"),
                name=_STRING,
                description=_TEXT,
                schema=_OBJECT,
                strict={"const": True},
            ),
        ),
        _closed(("type", "grammar"), type={"const": "grammar"}, grammar=_STRING),
        {
            "type": "object",
            "properties": {"type": {"const": "structural_tag"}},
            "required": ["type"],
        },
    ]
}

CHAT_COMPLETIONS: Schema = _closed(
    ("model", "messages"),
    model=_STRING,
    messages={
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["role"],
            "properties": {"role": {"enum": list(_MESSAGES)}},
            "allOf": [
                {"if": {"properties": {"role": {"const": role}}}, "then": message}
                for role, message in _MESSAGES.items()
            ],
        },
    },
    stream=_FLAG,
    stream_options={
        "anyOf": [
            {"type": "null"},
            _closed((), include_usage=_FLAG, continuous_usage_stats=_FLAG),
        ]
    },
    max_tokens=_number(1, 262144, kind="integer"),
    min_tokens=_number(0, kind="integer"),
    temperature=_number(0, 4),
    top_p=_number(0, 1),
    top_k=_number(-1, kind="integer"),
    min_p=_number(0, 1),
    repetition_penalty=_number(0),
    length_penalty=_number(),
    presence_penalty=_number(-2, 2),
    frequency_penalty=_number(-2, 2),
    logit_bias={"type": ["object", "null"], "additionalProperties": {"type": "number"}},
    logprobs=_FLAG,
    top_logprobs=_number(0, 20, kind="integer"),
    stop={
        "anyOf": [
            {"type": ["string", "null"]},
            {"type": "array", "items": _STRING, "maxItems": 32},
        ]
    },
    stop_token_ids={"type": ["array", "null"], "items": {"type": "integer"}},
    ignore_eos=_FLAG,
    seed=_number(kind="integer"),
    n={"const": 1},
    user=_TEXT,
    tools={"type": ["array", "null"], "items": _TOOL, "minItems": 1},
    tool_choice=_TOOL_CHOICE,
    parallel_tool_calls=_FLAG,
    response_format=_RESPONSE_FORMAT,
    chat_template=_TEXT,
    chat_template_args={"type": ["object", "null"]},
    documents={"type": ["array", "null"], "items": _OBJECT},
    add_generation_prompt=_FLAG,
    reasoning_effort={"enum": ["none", "minimal", "low", "medium", "high", "xhigh", "max", None]},
)


@lru_cache(maxsize=1)
def _validator() -> Any:
    # Imported on first use: the sandbox's import stays light.
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

    return Draft202012Validator(CHAT_COMPLETIONS)


def fault_in(body: object) -> str | None:
    """Say what is wrong with a request body, in one line; None when nothing is.

    Besides the schema this checks what a schema can't say: every tool result answers a call made right before it, a
    named tool is among those offered, and a choice of tools needs tools.
    """
    from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

    error = best_match(_validator().iter_errors(body))
    if error is not None:
        where = ".".join(str(step) for step in error.absolute_path) or "body"
        return f"{where}: {error.message[:300]}"
    assert isinstance(body, Mapping)
    return _fault_in_dialogue(body["messages"]) or _fault_in_tools(body)


def _fault_in_dialogue(messages: list[dict[str, Any]]) -> str | None:
    open_calls: set[str] = set()
    for position, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                return f"messages.{position}.tool_call_id: no preceding tool call has this id"
            open_calls.discard(message["tool_call_id"])
            continue
        if open_calls:
            return f"messages.{position}: tool calls {sorted(open_calls)} have no result yet"
        if message["role"] == "assistant":
            open_calls = {call["id"] for call in message.get("tool_calls", ())}
    return None


def _fault_in_tools(body: Mapping[str, Any]) -> str | None:
    offered = [tool["function"]["name"] for tool in body.get("tools") or ()]
    choice = body.get("tool_choice")
    if choice not in (None, "none") and not offered:
        return "tool_choice: no tools are offered"
    if isinstance(choice, dict) and choice["function"]["name"] not in offered:
        return "tool_choice: the named tool isn't among the tools"
    return None
