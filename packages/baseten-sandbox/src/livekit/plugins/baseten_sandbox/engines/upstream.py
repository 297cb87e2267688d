"""A chat engine that asks any OpenAI-compatible server, such as a local llama server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from typing import Any

import aiohttp

from .dialogue import Cut, Finish, Reasoning, Refusal, Reply, Text, ToolCall

__all__ = ["UpstreamEngine"]


class UpstreamEngine:
    """Passes requests on and the streamed answers back.

    Args:
        base_url: Where the server is, up to and including ``/v1``.
        model: The model to ask for; None passes the request's own name on.
        api_key: Sent as a bearer token when given.
        timeout: Seconds to wait for the connection, and for each further piece of an answer.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
    ) -> None:
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = aiohttp.ClientTimeout(total=None, connect=timeout, sock_read=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close the connections to the server."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def reply(
        self, request: Mapping[str, Any], *, thinks: bool
    ) -> AsyncGenerator[Reply, None]:
        """Yield the server's answer; its refusals too. A broken answer is cut, never ended as if it were whole."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        begun = False
        try:
            async with self._session.post(
                self._url, json=self._translated(request), headers=self._headers
            ) as response:
                if response.status != 200:
                    yield Refusal(response.status, await response.text())
                    return
                begun = True
                async for piece in _pieces(response.content):
                    yield piece
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
            # A 502 is still possible only before anything was said.
            message = f"The model server can't be reached: {type(error).__name__}"
            yield Cut() if begun else Refusal(502, {"error": message})

    def _translated(self, request: Mapping[str, Any]) -> dict[str, Any]:
        body = dict(request, stream=True, stream_options={"include_usage": True})
        if self._model is not None:
            body["model"] = self._model
        # Baseten's name for what other servers call kwargs.
        if (arguments := body.pop("chat_template_args", None)) is not None:
            body["chat_template_kwargs"] = arguments
        return body


async def _pieces(lines: AsyncIterable[bytes]) -> AsyncGenerator[Reply, None]:
    calls: dict[int, dict[str, str]] = {}
    finish: str | None = None
    async for line in lines:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            break
        for choice in json.loads(data).get("choices") or ():
            delta = choice.get("delta") or {}
            if thought := delta.get("reasoning_content") or delta.get("reasoning"):
                yield Reasoning(thought)
            if text := delta.get("content"):
                yield Text(text)
            for part in delta.get("tool_calls") or ():
                _collect(calls, part)
            finish = choice.get("finish_reason") or finish
    if finish is None:
        raise ValueError("the answer ended without a finish")
    for call in calls.values():
        yield ToolCall(call["name"], call["arguments"], call["id"] or None)
    yield Finish(finish)  # type: ignore[arg-type]


def _collect(calls: dict[int, dict[str, str]], part: Mapping[str, Any]) -> None:
    call = calls.setdefault(part.get("index", 0), {"id": "", "name": "", "arguments": ""})
    function = part.get("function") or {}
    call["id"] = part.get("id") or call["id"]
    call["name"] += function.get("name") or ""
    call["arguments"] += function.get("arguments") or ""
