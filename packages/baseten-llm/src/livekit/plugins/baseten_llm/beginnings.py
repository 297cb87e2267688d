"""What is known about where a model's answers begin: inside its reasoning, or not.

Some chat templates open ``<think>`` in the prompt, and unless the server tells reasoning apart,
nothing in such an answer's beginning differs from one that is meant to be heard. So whether an
answer must be held back is known from what the caller says, from the model's name, or from earlier
answers; and as long as it is unknown, it must.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeVar

from .log import logger

__all__ = ["Beginning"]

_T = TypeVar("_T")

_REMEMBERED = 512

# Fields that change neither the prompt's end nor which words the model may begin with. All others
# are taken to matter.
_NEUTRAL = frozenset(
    {
        *("messages", "tools", "response_format", "stream", "stream_options", "n", "user"),
        *("max_tokens", "min_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "length_penalty"),
        *("parallel_tool_calls", "metadata", "store", "service_tier", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
    }
)
# Some chat templates obey these in a conversation, such as that of Nemotron Nano 2
# (https://huggingface.co/nvidia/NVIDIA-Nemotron-Nano-9B-v2).
_SWITCH = re.compile(r"/(?:no_)?think\b|detailed thinking (?:on|off)\b")


class _Memory:
    """What answers have shown, by kind of request: the kinds used last."""

    def __init__(self) -> None:
        self.is_empty = True
        self._lock = threading.Lock()
        self._shown: OrderedDict[str, bool | None] = OrderedDict()
        self._logged: OrderedDict[str, None] = OrderedDict()

    def look_up(self, kind: str, otherwise: bool | None) -> bool | None:
        with self._lock:
            return self._shown.get(kind, otherwise)

    def keep(self, kind: str, inside: bool | None) -> None:
        with self._lock:
            self.is_empty = False
            _put(self._shown, kind, inside)

    def logs_first(self, kind: str) -> bool:
        """Whether this kind is to be told of in the log: once."""
        with self._lock:
            if kind in self._logged:
                return False
            _put(self._logged, kind, None)
            return True


_memory = _Memory()


class Beginning:
    """Where the answer to one request begins, and what it teaches for the next of its kind.

    All LLMs of the process learn together. Requests are of one kind when they go to the same model
    at the same place, and say the same of whatever may change how its answers begin.

    Args:
        base_url: Where the model is asked.
        body: The whole body of the request.
        presumed: Whether answers begin inside the reasoning, as far as the caller or the model's
            name tells; None if neither does.
    """

    def __init__(self, *, base_url: str, body: Mapping[str, Any], presumed: bool | None) -> None:
        self._base_url = base_url
        self._body = body
        self._presumed = presumed
        self._known = self._current()

    @property
    def may_be_inside(self) -> bool:
        """Whether the answer must be held back until it shows where it began."""
        return self._known is not False

    def learn(self, started_thinking: bool | None, *, was_held: bool) -> None:
        """Take note of what the answer has shown.

        One answer that began inside the reasoning settles it. Whether it doesn't is settled by one
        answer if nothing was known, and by two in a row against earlier ones that did.

        Args:
            started_thinking: Whether it began inside its reasoning; None if it didn't show.
            was_held: Whether any words were held back until it did.
        """
        if self._known is None and was_held and _memory.logs_first(self._kind):
            logger.info(
                "LLM: the first answer of %s was held back until it showed whether it began inside "
                "the model's reasoning; pass starts_thinking=False if none does, True if all do",
                self._body["model"],
            )
        if started_thinking is None or self._presumed is True:
            return
        if started_thinking:
            if self._known is False:
                logger.warning(
                    "LLM: %s began an answer inside its reasoning; they are held back until "
                    "</think> from now on. starts_thinking=True has it so from the first answer",
                    self._body["model"],
                )
            _memory.keep(self._kind, True)
        elif self._known is not False and self._current() is self._known:
            _memory.keep(self._kind, None if self._known else False)

    def _current(self) -> bool | None:
        if self._presumed is True or (self._presumed is False and _memory.is_empty):
            return self._presumed
        return _memory.look_up(self._kind, self._presumed)

    @cached_property
    def _kind(self) -> str:
        body = self._body
        told = {name: value for name, value in body.items() if name not in _NEUTRAL}
        told["tools"] = bool(body.get("tools"))
        # A server that holds an answer to a schema leaves no room for reasoning before it.
        form = body.get("response_format")
        told["response_format"] = form.get("type") if isinstance(form, dict) else str(form)
        told["switch"] = _switch_in(body["messages"])
        # Digested, so that nothing which the caller has written is kept.
        whole = json.dumps([self._base_url, told], sort_keys=True, default=str)
        return hashlib.sha256(whole.encode()).hexdigest()


def _put(into: OrderedDict[str, _T], kind: str, value: _T) -> None:
    into[kind] = value
    into.move_to_end(kind)
    if len(into) > _REMEMBERED:
        into.popitem(last=False)


def _switch_in(messages: list[dict[str, Any]]) -> str | None:
    for message in reversed(messages):
        if message["role"] in ("system", "user"):
            content = message.get("content") or ""
            parts = [{"text": content}] if isinstance(content, str) else content
            found = [each for part in parts for each in _SWITCH.findall(part.get("text") or "")]
            if found:
                return str(found[-1])
    return None
