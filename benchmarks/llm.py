"""What the LLM plugin costs over the bare ``openai`` client: time to the first token, CPU per token.

A local Baseten runs in a process of its own, so that the CPU measured is the client's alone. The
three clients take turns, answer by answer, over warm connections:

- ``bare``: the ``openai`` client, its stream read to the end;
- ``openai plugin``: ``livekit.plugins.openai.LLM``, which the published baseten plugin is made of;
- ``baseten``: ``livekit.plugins.baseten_llm.LLM``.

The scenes: all tokens at once; one each 5 ms; the same after a dialogue of 61 messages; and over a
link with a round trip.

Run ``python benchmarks/llm.py [--json FILE] [--answers N] [--tokens N] [--round-trip SECONDS]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai

from livekit.agents.llm import ChatContext
from livekit.plugins import baseten_llm, openai as openai_plugin
from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.dialogue import Reply, Text

MODEL = "openai/gpt-oss-120b"
KEY = "sandbox-key"
PACE = 0.005
SENTENCE = "Tell me a story about a man who was not of an ill disposition, and tell it well."


class Talker:
    """Says as many words as it is allowed tokens, at a steady pace or all at once."""

    def __init__(self, pace: float) -> None:
        self._pace = pace

    async def reply(self, request: Any, *, thinks: bool) -> AsyncGenerator[Reply, None]:
        for number in range(request["max_tokens"]):
            yield Text(f" word{number}")
            if self._pace:
                await asyncio.sleep(self._pace)


async def serve(pace: float, round_trip: float) -> None:
    """Run a local Baseten and print its URL, until the parent closes our input."""
    async with Sandbox(
        api_key=KEY,
        transcriber="tones",
        synthesizer="tones",
        chat=Talker(pace),
        round_trip=round_trip,
    ) as sandbox:
        print(sandbox.llm_base_url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def served(pace: float, round_trip: float) -> AsyncIterator[str]:
    """A local Baseten in another process; yields its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "--serve",
        str(pace),
        str(round_trip),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 60)


class Bare:
    """The ``openai`` client alone."""

    def __init__(self, base_url: str) -> None:
        self._client = openai.AsyncClient(api_key=KEY, base_url=base_url, max_retries=0)

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

    async def aclose(self) -> None:
        await self._client.close()


class Plugin:
    """A LiveKit LLM."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm

    async def answer(self, dialogue: list[Any], tokens: int) -> AsyncIterator[str]:
        chat_ctx = ChatContext()
        for message in dialogue:
            chat_ctx.add_message(**message)
        extra = {"max_tokens": tokens}
        async with self._llm.chat(chat_ctx=chat_ctx, extra_kwargs=extra) as stream:
            async for chunk in stream:
                if chunk.delta and chunk.delta.content:
                    yield chunk.delta.content

    async def aclose(self) -> None:
        await self._llm.aclose()


CLIENTS: dict[str, Callable[[str], Any]] = {
    "bare": Bare,
    "openai plugin": lambda url: Plugin(
        openai_plugin.LLM(model=MODEL, api_key=KEY, base_url=url, reasoning_effort="low")
    ),
    "baseten": lambda url: Plugin(baseten_llm.LLM(model=MODEL, api_key=KEY, base_url=url)),
}


async def measure(
    url: str, *, answers: int, tokens: int, messages: int
) -> dict[str, dict[str, float]]:
    """Let the clients take turns; return medians per client."""
    roles = ("user", "assistant")
    dialogue = [{"role": roles[n % 2], "content": SENTENCE} for n in range(messages)]
    clients = {name: make(url) for name, make in CLIENTS.items()}
    first: dict[str, list[float]] = {name: [] for name in clients}
    cost: dict[str, list[float]] = {name: [] for name in clients}
    try:
        for turn in range(answers + 3):
            # Each in turn goes first, so that none always follows the same one.
            names = [*clients][turn % len(clients) :] + [*clients][: turn % len(clients)]
            for name in names:
                client = clients[name]
                start, cpu, seen, at = time.perf_counter(), time.process_time(), 0, 0.0
                async for _ in client.answer(dialogue, tokens):
                    at = at or time.perf_counter() - start
                    seen += 1
                used = time.process_time() - cpu
                assert seen == tokens, (name, seen)
                # The first turns open connections and warm the interpreter up.
                if turn >= 3:
                    first[name].append(at)
                    cost[name].append(used / tokens)
    finally:
        for client in clients.values():
            await client.aclose()
    return {
        name: {
            "first_token_ms": 1000 * statistics.median(first[name]),
            "cpu_us_per_token": 1e6 * statistics.median(cost[name]),
        }
        for name in clients
    }


async def run(answers: int, tokens: int, round_trip: float) -> dict[str, Any]:
    scenes = {
        "burst": (0.0, 0.0, tokens, 1),
        "paced": (PACE, 0.0, min(tokens, 100), 1),
        "long": (PACE, 0.0, 5, 61),
        "far": (0.0, round_trip, 5, 1),
    }
    results: dict[str, Any] = {}
    for scene, (pace, far, count, messages) in scenes.items():
        async with served(pace, far) as url:
            results[scene] = await measure(url, answers=answers, tokens=count, messages=messages)
    results["machine"] = {"python": platform.python_version(), "cpus": os.cpu_count()}
    results["round_trip_ms"] = 1000 * round_trip
    return results


def table(results: dict[str, Any]) -> str:
    lines = [
        f"{'':8} {'client':14} {'first token':>12} {'ratio':>6} {'CPU/token':>11} {'ratio':>6}"
    ]
    for scene in ("burst", "paced", "long", "far"):
        bare = results[scene]["bare"]
        for name, values in results[scene].items():
            first, cost = values["first_token_ms"], values["cpu_us_per_token"]
            lines.append(
                f"{scene:8} {name:14} {first:9.2f} ms {first / bare['first_token_ms']:6.2f}"
                f" {cost:8.1f} µs {cost / bare['cpu_us_per_token']:6.2f}"
            )
    ratio = results["far"]["baseten"]["first_token_ms"] / results["round_trip_ms"]
    lines.append(
        f"first token over a round trip of {results['round_trip_ms']:.0f} ms: {ratio:.2f} R"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="also write the figures here")
    parser.add_argument("--answers", type=int, default=30, help="answers per client and scene")
    parser.add_argument("--tokens", type=int, default=300, help="tokens of an answer")
    parser.add_argument("--round-trip", type=float, default=0.1, help="seconds, of the far scene")
    parser.add_argument("--serve", nargs=2, type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(*options.serve))
        return
    results = asyncio.run(run(options.answers, options.tokens, options.round_trip))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)
    print(table(results))


if __name__ == "__main__":
    main()
