"""One answer over HTTP: the request, the wait for it, and reading it to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import openai
from openai.types.chat import ChatCompletionChunk

from livekit.agents import APIConnectOptions, APIError
from livekit.agents.llm import ChatContext, LLMStream as BaseLLMStream, Tool, ToolContext
from livekit.plugins.baseten_common import timeout

from .access import Access
from .answers import Answer
from .beginnings import Beginning
from .cold_start import wait_for_start
from .failures import failure_of, pause_asked_for
from .log import logger
from .messages import to_messages
from .reasoning import SpokenText
from .requests import Request

if TYPE_CHECKING:
    from .llm import LLM

__all__ = ["LLMStream"]

_FUNCTION = ("name", "description", "parameters", "strict")
# Usage and the end marker follow the finish at once, unless the server has lost its thread.
_AFTER_FINISH = 1.0
# For the end of the body, which lets the connection be used again.
_AFTER_DONE = 0.25
# The client waits no longer than this before it tries again.
_LONGEST_PAUSE = 120.0


class LLMStream(BaseLLMStream):
    """One answer of a model on Baseten. :meth:`LLM.chat` makes it."""

    def __init__(
        self,
        llm: LLM,
        *,
        access: Access,
        request: Request,
        chat_ctx: ChatContext,
        tools: list[Tool],
        conn_options: APIConnectOptions,
    ) -> None:
        super().__init__(llm, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)
        self._access = access
        # To make one costs as much as all else before the request, even of no tools.
        self._tool_ctx = ToolContext(tools) if tools else None
        self._request = request
        self._not_before = 0.0
        self._wake_until = 0.0
        self._patience = request.timeout.read

    async def _run(self) -> None:
        if (pause := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        # What can't be sent is the caller's mistake, and shows as what it is.
        body = self._body()
        beginning = Beginning(
            base_url=str(self._access.client.base_url),
            body=body,
            presumed=self._request.starts_thinking,
        )
        tags = self._request.options.family.tags
        spoken = SpokenText(may_start_thinking=beginning.may_be_inside, tags=tags)
        answer = Answer(spoken)
        failure: APIError | None = None
        start = time.monotonic()
        try:
            await self._read(body, answer)
        except asyncio.CancelledError:
            # A barge-in: what the model has said until now is billed all the same.
            self._send_usage(answer)
            raise
        except Exception as exc:
            failure = self._failure(exc, answer, round(time.monotonic() - start, 1))
        finally:
            beginning.learn(spoken.started_thinking, was_held=spoken.has_held)
        # An answer that came to its end is whole, whatever befell the connection afterwards. Raised
        # outside of the handler, so that the client's exception isn't even the context: its request
        # holds the key.
        if failure is not None and not answer.finished:
            raise failure
        self._send_usage(answer)
        if answer.finish_reason == "length":
            logger.info("the answer was cut at its limit of tokens")

    async def _read(self, body: dict[str, Any], answer: Answer) -> None:
        stream = await self._open(body)
        try:
            received = stream.response.aiter_bytes()
            patience = inf if self._patience is None else self._patience
            # A server may send comments while the model behind it starts.
            until = max(time.monotonic() + patience, self._wake_until)
            while not answer.done:
                if (data := await _next(received, until - time.monotonic())) is None:
                    break
                finished, progress = answer.finished, answer.progress
                for chunk in answer.feed(data):
                    self._event_ch.send_nowait(chunk)
                    # A word goes on its way before those that came with it are read; the loop
                    # carries audio besides.
                    await asyncio.sleep(0)
                if answer.progress != progress and not finished:
                    wait = _AFTER_FINISH if answer.finished else patience
                    until = time.monotonic() + wait
            for chunk in answer.end():
                self._event_ch.send_nowait(chunk)
            await _next(received, _AFTER_DONE)
        finally:
            await stream.close()

    async def _open(self, body: dict[str, Any]) -> openai.AsyncStream[ChatCompletionChunk]:
        client, request = self._access.client, self._request

        async def post(read_timeout: float | None) -> openai.AsyncStream[ChatCompletionChunk]:
            bounds = {**request.timeout.as_dict(), "read": read_timeout}
            # Not by `chat.completions.create`: it walks through every message and tool in search of
            # what isn't JSON yet, which costs tenths of a millisecond each, at every turn.
            async with timeout(_together(bounds, tries=1 + client.max_retries)):
                return await client.post(
                    "/chat/completions",
                    body=body,
                    options={
                        "headers": request.headers,
                        "params": request.query,
                        "timeout": httpx.Timeout(**bounds),
                        "security": {"bearer_auth": True},
                    },
                    cast_to=ChatCompletionChunk,
                    stream=True,
                    stream_cls=openai.AsyncStream[ChatCompletionChunk],
                )

        # One budget for all tries: LiveKit's retries mustn't begin it anew.
        now = time.monotonic()
        self._wake_until = self._wake_until or now + request.options.wake
        if (left := self._wake_until - now) > (self._patience or 0.0):
            return await wait_for_start(post, budget=left)
        return await post(self._patience)

    def _body(self) -> dict[str, Any]:
        options = self._request.options
        messages = to_messages(
            self._chat_ctx,
            fold_system=options.fold_system,
            cache_breakpoints=options.cache_breakpoints,
        )
        body = {**self._request.body, "messages": messages}
        if self._tool_ctx is not None:
            tools = self._tool_ctx.parse_function_tools("openai", strict=options.strict_tools)
            if tools:
                body["tools"] = [_tool(tool) for tool in tools]
        return body

    def _failure(self, exc: Exception, answer: Answer, waited: float) -> APIError:
        failure = failure_of(
            exc,
            model=self._request.body["model"],
            dedicated=self._access.dedicated,
            seconds=(answer.progress and self._patience) or waited,
            key=self._access.key,
        )
        pause = pause_asked_for(exc)
        if pause is not None:
            self._not_before = time.monotonic() + pause
        if answer.has_said or (pause or 0.0) > self._conn_options.timeout:
            # Asked again, the model would say its beginning twice; and nobody on a call waits
            # longer for another try than for an answer.
            failure.retryable = False
        return failure

    def _send_usage(self, answer: Answer) -> None:
        if (usage := answer.usage()) is not None and not self._event_ch.closed:
            self._event_ch.send_nowait(usage)


async def _next(received: AsyncIterator[bytes], seconds: float | None) -> bytes | None:
    """The next bytes; None at the end of the body."""
    async with timeout(None if seconds == inf else seconds):
        return await anext(received, None)


def _together(bounds: Mapping[str, float | None], *, tries: int) -> float | None:
    """Seconds within which an answer must begin.

    Each of the bounds holds for one step, and of those a server can make ever more.
    """
    steps = [inf if bound is None else bound for bound in bounds.values()]
    seconds = sum(steps) * tries + _LONGEST_PAUSE * (tries - 1)
    return None if seconds == inf else seconds


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = {name: tool["function"][name] for name in _FUNCTION if name in tool["function"]}
    return {"type": "function", "function": function}
