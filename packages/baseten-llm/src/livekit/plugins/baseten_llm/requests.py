"""What goes into a request: the options of the LLM, and over them those of one call.

Only fields that Baseten's reference names are sent by default
(https://docs.baseten.co/reference/inference-api/chat-completions); others go out when the caller
asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx2 as httpx

from livekit.agents import NotGivenOr
from livekit.agents.llm import ToolChoice, utils as llm_utils
from livekit.agents.utils import is_given

from .models import Family, ReasoningEffort

__all__ = ["Options", "Request", "check_fields"]

_OURS = frozenset({"model", "messages", "stream", "stream_options", "tools"})
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 4),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "max_tokens": (1, float("inf")),
    "top_k": (-1, float("inf")),
    "repetition_penalty": (0, float("inf")),
}
_MOST_STOPS = 32


@dataclass(frozen=True)
class Request:
    """What one answer is asked with.

    Attributes:
        options: Those of the LLM.
        body: The request's body, but for messages and tools.
        headers: Headers of this request.
        query: Added to the URL.
        timeout: Bounds connecting, sending, and each wait for the next piece of the answer.
        starts_thinking: Whether the answer begins inside its reasoning; None if it isn't known.
    """

    options: Options
    body: dict[str, Any]
    headers: dict[str, str]
    query: dict[str, Any]
    timeout: httpx.Timeout
    starts_thinking: bool | None


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of an LLM.

    Attributes:
        model: The slug, or the name a deployment serves under.
        family: What models of this name take.
        fields: Fields of each request's body, as :func:`check_fields` returns them.
        reasoning_effort: How much to think; None for the family's default.
        enable_thinking: Whether to think at all; None leaves it open.
        chat_template_args: Arguments of the chat template.
        parallel_tool_calls: Whether one answer may call several tools.
        tool_choice: Whether and which tools must be called.
        extra_body: Further fields of each request's body.
        extra_headers: Headers of each request.
        extra_query: Added to each URL.
        timeout: Bounds of each request; None for those of LiveKit's connect options.
        wake: Seconds that a dedicated deployment may take to start; 0 if it isn't waited for.
        fold_system: Whether late system messages become user messages.
        cache_breakpoints: Whether cache breakpoints are marked.
        strict_tools: Whether tool schemas go out as strict ones.
    """

    model: str
    family: Family
    fields: Mapping[str, Any]
    reasoning_effort: ReasoningEffort | None
    enable_thinking: bool | None
    chat_template_args: Mapping[str, Any]
    parallel_tool_calls: NotGivenOr[bool]
    tool_choice: NotGivenOr[ToolChoice]
    extra_body: Mapping[str, Any]
    extra_headers: Mapping[str, str]
    extra_query: Mapping[str, Any]
    timeout: httpx.Timeout | None
    wake: float
    fold_system: bool
    cache_breakpoints: bool
    strict_tools: bool

    def __post_init__(self) -> None:
        if self.wake < 0:
            raise ValueError(f"wake must be 0 or more seconds; got {self.wake!r}")
        self.family.thinking(self.reasoning_effort, self.enable_thinking)

    def call(
        self,
        extra: Mapping[str, Any],
        *,
        with_tools: bool,
        parallel_tool_calls: NotGivenOr[bool],
        tool_choice: NotGivenOr[ToolChoice],
        response_format: NotGivenOr[Any],
    ) -> dict[str, Any]:
        """Put together the options of one call.

        Args:
            extra: Options that win over all others.
            with_tools: Whether there are tools to call; without, nothing is said of them.
            parallel_tool_calls: In place of what the LLM has.
            tool_choice: In place of what the LLM has.
            response_format: A pydantic model, dataclass or typed dict, or the form of the wire.

        Raises:
            ValueError: the response format isn't strict.
        """
        call: dict[str, Any] = {}
        parallel = (
            parallel_tool_calls if is_given(parallel_tool_calls) else self.parallel_tool_calls
        )
        if with_tools and is_given(parallel):
            call["parallel_tool_calls"] = parallel
        if with_tools and (choice := tool_choice or self.tool_choice):
            call["tool_choice"] = _named(choice)
        if is_given(response_format):
            call["response_format"] = _strict(response_format)
        return {**call, **extra}

    def request(
        self,
        call: Mapping[str, Any],
        *,
        timeout: float,
        headers: Mapping[str, str],
        starts_thinking: bool | None,
        otherwise: bool | None,
    ) -> Request:
        """Put together one request.

        Args:
            call: Options of this call, which win over those of the LLM.
            timeout: Seconds, where the LLM has no bounds of its own.
            headers: Headers that either may override.
            starts_thinking: See :class:`Request`; None to judge by the model and what is asked.
            otherwise: What to take it for where these don't tell either.

        Raises:
            ValueError: the call's options can't be used.
        """
        call = dict(call)
        if wrong := _OURS & call.keys():
            raise ValueError(f"extra_kwargs can't set {', '.join(sorted(wrong))}")
        extra_body = {**self.extra_body, **(call.pop("extra_body", None) or {})}
        extra_headers = {**self.extra_headers, **(call.pop("extra_headers", None) or {})}
        extra_query = {**self.extra_query, **(call.pop("extra_query", None) or {})}
        bounds = call.pop("timeout", self.timeout)
        template_args = {
            **self.chat_template_args,
            **(call.pop("chat_template_args", None) or {}),
            **(extra_body.pop("chat_template_args", None) or {}),
        }
        effort, enabled = self._thinking(call)
        thinking, switch = self.family.thinking(effort, enabled)
        if starts_thinking is None:
            starts_thinking = self.family.presumed(effort, enabled)
        if template_args := {**switch, **template_args}:
            extra_body["chat_template_args"] = template_args
        fields = {**self.fields, **thinking, **check_fields(call)}
        if isinstance(bounds, (int, float)) or bounds is None:
            bounds = httpx.Timeout(timeout if bounds is None else bounds)
        return Request(
            options=self,
            body={
                "model": self.model,
                **fields,
                "stream": True,
                "stream_options": {"include_usage": True},
                **extra_body,
            },
            headers={**headers, **extra_headers},
            query=extra_query,
            timeout=cast(httpx.Timeout, bounds),
            starts_thinking=otherwise if starts_thinking is None else starts_thinking,
        )

    def _thinking(self, call: dict[str, Any]) -> tuple[ReasoningEffort | None, bool | None]:
        """What the call says about thinking, else what the LLM does."""
        if "reasoning_effort" in call or "enable_thinking" in call:
            return call.pop("reasoning_effort", None), call.pop("enable_thinking", None)
        return self.reasoning_effort, self.enable_thinking


def check_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Check body fields and give them Baseten's names.

    Raises:
        ValueError: a value is out of its documented range.
    """
    checked = dict(fields)
    if (limit := checked.pop("max_completion_tokens", None)) is not None:
        if checked.get("max_tokens") not in (None, limit):
            raise ValueError("max_tokens and max_completion_tokens are the same limit: pass one")
        checked["max_tokens"] = limit
    for name, (low, high) in _RANGES.items():
        value = checked.get(name)
        if value is not None and not low <= value <= high:
            bounds = f"at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
            raise ValueError(f"{name} must be {bounds}; got {value!r}")
    stop = checked.get("stop")
    if isinstance(stop, (list, tuple)) and len(stop) > _MOST_STOPS:
        raise ValueError(f"stop takes {_MOST_STOPS} sequences at most; got {len(stop)}")
    return checked


def _named(choice: ToolChoice) -> ToolChoice:
    """A choice of tools in the form of the wire."""
    if isinstance(choice, dict):
        return {"type": "function", "function": {"name": choice["function"]["name"]}}
    return choice


def _strict(asked: Any) -> dict[str, Any]:
    """A response format in the form of the wire, strict as Baseten wants it."""
    if not isinstance(asked, dict):
        return llm_utils.to_openai_response_format(asked)
    if asked.get("type") != "json_schema":
        return asked
    schema = asked["json_schema"]
    if schema.get("strict") is False:
        raise ValueError("Baseten takes only strict JSON schemas: drop 'strict': False")
    return {**asked, "json_schema": {**schema, "strict": True}}
