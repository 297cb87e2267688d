"""Makes the events of a streamed answer into LiveKit's chunks. No I/O."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from livekit.agents import APIError
from livekit.agents.llm import ChatChunk, ChoiceDelta, CompletionUsage, FunctionToolCall

from .events import DONE, EventReader
from .reasoning import SpokenText

__all__ = ["Answer", "FailureFrame"]


class FailureFrame(Exception):
    """The server put an error into the stream; ``frame`` is the event that says so."""

    def __init__(self, frame: dict[str, Any]) -> None:
        super().__init__("the server reported an error")
        self.frame = frame


_LONGEST = 16 * 2**20  # far above any answer; an endless one must not fill the memory
# Finish reasons of answers that the server didn't bring to an end.
_BROKEN = frozenset({"abort", "error"})
# And of those that were cut, by a limit or a filter.
_UNFINISHED = frozenset({"length", "content_filter"})


class _Call:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        # Put together once, at the end: to add to a text each time copies all of it each time.
        self.pieces: list[str] = []

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class Answer:
    """One answer as it arrives.

    Tool calls are given out all together once the model has finished: an answer that breaks off
    before leaves none half done, and can be asked for again.

    Args:
        spoken: Keeps the reasoning out.
    """

    def __init__(self, spoken: SpokenText) -> None:
        self._events = EventReader()
        self._spoken = spoken
        self._calls: dict[object, _Call] = {}
        self._size = 0
        self._whole: bytearray | None = None
        self._chosen = False
        self._id = ""
        self._usage: dict[str, Any] | None = None
        self._service_tier: str | None = None
        self.finish_reason: str | None = None
        self.finished = False
        """Whether the model came to its end: what follows is only usage and the end marker."""
        self.done = False
        """Whether the end marker was seen."""
        self.progress = 0
        """Grows with each piece of the answer: words, reasoning, tool calls, tokens counted, its end.

        What else a server sends is no progress: comments, events that say nothing, and blanks, which
        some models write without end.
        """
        self.has_said = False
        """Whether any chunk with text or tool calls was given out."""

    def feed(self, received: bytes) -> Iterator[ChatChunk]:
        """Yield the chunks that these bytes complete.

        Raises:
            FailureFrame: the server reports an error.
            ValueError: the answer is garbled.
            APIError: the answer ended in the middle of a tool call, or before it began.
            ConnectionError: the server gave the answer up.
        """
        if self._whole is None:
            if not (start := received.lstrip()):
                return
            # Whatever its content type says, a JSON object is no stream.
            self._whole = bytearray(start if start[:1] == b"{" else b"")
        elif self._whole:
            self._whole += received
        if self._whole:
            self.progress += not received.isspace()
            if len(self._whole) > _LONGEST:
                raise ValueError("the answer is too long")
            return
        for event in self._events.feed(received):
            if self.done:
                return
            if event is DONE:
                self.done = True
                if not self._chosen:
                    raise ConnectionError("the answer is empty")
                yield from self._finish(None)
                return
            assert isinstance(event, dict)
            if event.get("error") or event.get("object") == "error":
                raise FailureFrame(event)
            yield from self._chunks(event)

    def end(self) -> Iterator[ChatChunk]:
        """Yield what is left when the body has ended: all of an answer that wasn't streamed.

        Raises:
            ConnectionError: the answer broke off.
            Exception: as for :meth:`feed`.
        """
        if self._whole:
            whole = json.loads(self._whole)
            if not isinstance(whole.get("choices"), list):
                raise FailureFrame(whole)
            for choice in _dicts(whole["choices"]):
                choice["delta"] = choice.get("message")
            yield from self._chunks(whole)
        if not self.finished:
            raise ConnectionError("the answer broke off before its end")

    def usage(self) -> ChatChunk | None:
        """The last usage that the server told, which counts all of the answer; None if it told none."""
        if self._usage is None:
            return None
        prompt = self._usage.get("prompt_tokens_details")
        completion = self._usage.get("completion_tokens_details")
        return ChatChunk(
            id=self._id,
            usage=CompletionUsage(
                completion_tokens=_count(self._usage, "completion_tokens"),
                prompt_tokens=_count(self._usage, "prompt_tokens"),
                total_tokens=_count(self._usage, "total_tokens"),
                prompt_cached_tokens=_count(prompt, "cached_tokens"),
                cache_creation_tokens=_count(prompt, "cache_write_tokens"),
                reasoning_tokens=_count(completion, "reasoning_tokens"),
                service_tier=self._service_tier,
            ),
        )

    def _chunks(self, event: dict[str, Any]) -> Iterator[ChatChunk]:
        if isinstance(identity := event.get("id"), str) and identity:
            self._id = identity
        if isinstance(usage := event.get("usage"), dict):
            counted = _count(self._usage, "completion_tokens")
            self.progress += _count(usage, "completion_tokens") > counted
            self._usage = usage
        if isinstance(tier := event.get("service_tier"), str):
            self._service_tier = tier
        for choice in _dicts(event.get("choices")):
            if choice.get("index") or self.finished:
                continue
            self._chosen = True
            delta = choice.get("delta")
            if isinstance(delta, dict):
                if reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
                    self._take(str(reasoning))
                    yield from self._say(self._spoken.release())
                if content := _flat(delta.get("content")):
                    self._take(content)
                    yield from self._say(self._spoken.feed(content))
                for part in _dicts(delta.get("tool_calls")):
                    self._collect(part)
            if reason := choice.get("finish_reason"):
                yield from self._finish(str(reason))

    def _take(self, text: str) -> None:
        self.progress += bool(text) and not text.isspace()
        self._size += len(text)
        if self._size > _LONGEST:
            raise ValueError("the answer is too long")

    def _say(self, text: str) -> Iterator[ChatChunk]:
        if text:
            self.has_said = True
            yield ChatChunk(id=self._id, delta=ChoiceDelta(role="assistant", content=text))

    def _collect(self, part: dict[str, Any]) -> None:
        function = part.get("function")
        function = function if isinstance(function, dict) else {}
        call_id, name = part.get("id") or "", function.get("name") or ""
        index = part.get("index")
        index = index if isinstance(index, int) else 0
        call = self._calls.get(index)
        if call is not None and call_id and name and call.id and call.id != call_id:
            # Some servers number every call 0; only its id tells a new one.
            self._calls[len(self._calls), call.id] = self._calls.pop(index)
            call = None
        if call is None:
            call = self._calls[index] = _Call()
            self._take(str(name))
        call.id = call.id or str(call_id)
        call.name = call.name or str(name)
        arguments = function.get("arguments") or ""
        call.pieces.append(arguments if isinstance(arguments, str) else json.dumps(arguments))
        self._take(call.pieces[-1])

    def _finish(self, reason: str | None) -> Iterator[ChatChunk]:
        if self.finished:
            return
        if reason in _BROKEN:
            raise ConnectionError(f"the model server gave up the answer ({reason})")
        calls = [call for call in self._calls.values() if call.name]
        # A call may come out of the midst of reasoning, which then has no end: see
        # https://github.com/QwenLM/Qwen3/issues/1459.
        complete = not calls and reason not in _UNFINISHED
        yield from self._say(self._spoken.end(complete=complete))
        if reason == "length":
            self._check_room(calls)
        self.finished = True
        self.finish_reason = reason
        self.progress += 1
        if calls:
            self.has_said = True
            delta = ChoiceDelta(role="assistant", tool_calls=[_tool_call(call) for call in calls])
            yield ChatChunk(id=self._id, delta=delta)

    def _check_room(self, calls: list[_Call]) -> None:
        if not all(_is_json(call.arguments) for call in calls):
            problem = "in the middle of a tool call: raise max_tokens"
        elif not calls and not self.has_said:
            problem = "before it answered: raise max_tokens, or lower reasoning_effort"
            if self._spoken.has_held:
                problem += " (if what it writes is no reasoning, pass starts_thinking=False)"
        else:
            return
        raise APIError(f"LLM: the model reached its limit of tokens {problem}", retryable=False)


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _tool_call(call: _Call) -> FunctionToolCall:
    return FunctionToolCall(
        name=call.name,
        arguments=call.arguments or "{}",
        call_id=call.id or f"call_{uuid.uuid4().hex}",
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text or "{}")
    except (ValueError, RecursionError):
        return False
    return True


def _flat(content: object) -> str:
    """The text of a delta's content, which some servers send as a list of parts."""
    if isinstance(content, list):
        texts = (part.get("text") if isinstance(part, dict) else part for part in content)
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) else 0
