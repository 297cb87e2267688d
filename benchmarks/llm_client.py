"""Clients of the LLM, in processes of their own; see :mod:`arena`.

Run with the kind of client: ``bare`` (the ``openai`` client), ``ours``, ``peer``, or ``livekit``,
LiveKit's own plugin for OpenAI. It also runs in the environment of the peer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from process import serve

KIND = sys.argv[1]
MODEL = "openai/gpt-oss-120b"
SENTENCE = "Tell me a story about a man who was not of an ill disposition, and tell it well."


class Bare:
    """The ``openai`` client alone."""

    def __init__(self, url: str, key: str) -> None:
        import openai

        self._client = openai.AsyncClient(api_key=key, base_url=url, max_retries=0)

    async def answer(self, dialogue: list[Any], tokens: int) -> AsyncIterator[str]:
        stream = await self._client.chat.completions.create(
            model=MODEL,
            messages=dialogue,
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=tokens,
            reasoning_effort="low",
        )
        async for chunk in stream:
            for choice in chunk.choices:
                if choice.delta.content:
                    yield choice.delta.content


class Plugin:
    """A LiveKit LLM."""

    def __init__(self, url: str, key: str) -> None:
        if KIND == "ours":
            from livekit.plugins.baseten_llm import LLM
        elif KIND == "peer":
            from livekit.plugins.baseten import LLM  # the published one, by its interpreter
        else:
            from livekit.plugins.openai import LLM
        more = {} if KIND == "ours" else {"reasoning_effort": "low"}
        self._llm = LLM(model=MODEL, api_key=key, base_url=url, **more)

    async def answer(self, dialogue: list[Any], tokens: int) -> AsyncIterator[str]:
        from livekit.agents.llm import ChatContext

        chat_ctx = ChatContext()
        for message in dialogue:
            chat_ctx.add_message(**message)
        extra = {"max_tokens": tokens}
        async with self._llm.chat(chat_ctx=chat_ctx, extra_kwargs=extra) as stream:
            async for chunk in stream:
                if chunk.delta and chunk.delta.content:
                    yield chunk.delta.content


_CLIENTS: dict[str, Any] = {}


async def warm(url: str, key: str) -> None:
    """Open a connection, and have the interpreter do everything once."""
    _CLIENTS[url] = (Bare if KIND == "bare" else Plugin)(url, key)
    for _ in range(3):
        await answers(url, 1, 5, 1)


async def answers(url: str, count: int, tokens: int, messages: int) -> dict[str, list[float]]:
    """Have so many answers; seconds to the first token, and of CPU per token, of each."""
    roles = ("user", "assistant")
    dialogue = [{"role": roles[n % 2], "content": SENTENCE} for n in range(messages)]
    told: dict[str, list[float]] = {"first": [], "cost": []}
    for _ in range(count):
        start, cpu, seen, first = time.perf_counter(), time.process_time(), 0, 0.0
        async for _ in _CLIENTS[url].answer(dialogue, tokens):
            first = first or time.perf_counter() - start
            seen += 1
        used = time.process_time() - cpu
        if seen != tokens:
            raise RuntimeError(f"{seen} tokens of {tokens}")
        told["first"].append(first)
        told["cost"].append(used / tokens)
    return told


if __name__ == "__main__":
    serve({"warm": warm, "answers": answers})
