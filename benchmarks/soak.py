"""Hours of calls on a network that fails all the time: is a word lost, said twice, or waited for in vain?

A local Baseten in a process of its own strikes new connections and open ones at random: resets,
ends of the stream, close codes, half-open and mute peers, refusals, answers that never come,
garbage and error messages. Meanwhile sessions of every component and protocol talk in words that
can be told apart exactly, and each outcome is judged:

- speech-to-text must give every word once and in order, however often its connection breaks;
- an utterance or an answer is whole or ends in an ``APIError``, and what was heard until then, or
  until a barge-in, is the beginning of it;
- nothing takes longer than its bound, and what is closed or dropped leaves no task and no socket.

Faults that no client can tell from success aren't among them: Orpheus has no end but the close of
the connection, so its closes with 1000 and its cleanly ended short bodies are left out.

Run ``python benchmarks/soak.py [--seconds S] [--seed N] [--sessions N] [--speed X] [--json FILE]``.
The exit status is 1 when anything was lost, doubled, out of order, short, hung or leaked.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import numpy as np
from soak_server import VOCABULARY
from soak_sessions import Cast, Score

from livekit.agents import utils
from livekit.plugins.baseten_sandbox.engines.tones import speak


def rss() -> float:
    """Megabytes of memory in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_sockets() -> int:
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        except OSError:
            continue
    return found


async def watch_memory(samples: list[tuple[float, float, int, int]]) -> None:
    start = time.monotonic()
    while True:
        now = time.monotonic() - start
        samples.append((now, rss(), open_sockets(), len(asyncio.all_tasks())))
        await asyncio.sleep(1.0)


def growth(samples: list[tuple[float, float, int, int]]) -> float:
    """Megabytes a minute, by least squares over the second half."""
    half = samples[len(samples) // 2 :]
    if len(half) < 3:
        return 0.0
    slope, _ = np.polyfit([at for at, *_ in half], [mb for _, mb, *_ in half], 1)
    return float(slope) * 60


async def soak(*, seconds: float, seed: int, sessions: int, speed: float, rate: float) -> Any:
    """Run it and return what came of it."""
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("soak_server.py")),
        str(seed),
        str(rate),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdin
    assert server.stdout
    speak(VOCABULARY)
    score = Score()
    unheard: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: unheard.append(f"{context['message']}: {context.get('exception')!r}")
    )
    samples: list[tuple[float, float, int, int]] = []
    try:
        origin = (await asyncio.wait_for(server.stdout.readline(), 60)).decode().strip()
        before = asyncio.all_tasks()
        sockets_before = open_sockets()
        async with utils.http_context.open():
            plays: list[Awaitable[None]] = []
            until = time.monotonic() + seconds
            for n in range(sessions):
                cast = Cast(origin, seed=seed + n, speed=speed, until=until, score=score)
                plays += [
                    cast.talk("whisper", "whisper1"),
                    cast.talk("qwen3-asr", "qwenasr1"),
                    cast.recite("orpheus-http", "orpheus", "orpheus1", "predict"),
                    cast.recite("orpheus-ws", "orpheus", "orpheus2", "websocket"),
                    cast.recite("qwen3-tts", "qwen3-tts", "qwentts1", "websocket"),
                    cast.recite("qwen3-tts-one-shot", "qwen3-tts", "qwentts2", "websocket"),
                    cast.recite("generic", "generic", "kokoro1", "predict"),
                    cast.ask("llm"),
                ]
            watching = asyncio.create_task(watch_memory(samples))
            for outcome in await asyncio.gather(*plays, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    score.violate("all", "wrong exceptions", error=repr(outcome)[:300])
            await utils.aio.cancel_and_wait(watching)
            plays.clear()
            await left_over(before, sockets_before, patience=3.0)
        tasks, sockets = await left_over(before, sockets_before)
        server.stdin.write(b"\n")
        told = json.loads(await asyncio.wait_for(server.stdout.readline(), 60))
    finally:
        server.stdin.close()
        await asyncio.wait_for(server.wait(), 60)
    if tasks:
        score.violate("all", "tasks leaked", len(tasks), names=sorted(tasks))
    if sockets > 0:
        score.violate("all", "sockets leaked", sockets)
    if unheard:
        score.violate("all", "unheard exceptions", len(unheard), which=unheard[:5])
    return report(score, told, samples, seconds=seconds, seed=seed, sessions=sessions, speed=speed)


async def left_over(
    before: set[asyncio.Task[Any]], sockets_before: int, patience: float = 10.0
) -> tuple[list[str], int]:
    """Names of tasks, and the number of sockets, that stay when all is done."""
    until = time.monotonic() + patience
    while True:
        gc.collect()
        tasks = asyncio.all_tasks() - before - {asyncio.current_task()}
        sockets = open_sockets() - sockets_before
        if (not tasks and sockets <= 0) or time.monotonic() > until:
            return [task.get_name() for task in tasks if task], sockets
        await asyncio.sleep(0.1)


WRONG = [
    "words lost",
    "words too many",
    "out of order",
    "hangs",
    "streams given up",
    "turns out of balance",
    "wrong exceptions",
    "unheard exceptions",
    "tasks leaked",
    "sockets leaked",
]


def report(score: Score, told: Any, samples: list[Any], **options: Any) -> dict[str, Any]:
    """Everything as JSON."""
    return {
        "options": options,
        "python": platform.python_version(),
        "connections": told["connections"],
        "struck": told["struck"],
        "wrong": {name: score.counts.pop(name, 0) for name in WRONG},
        "counts": dict(score.counts),
        "protocols": {name: dict(counts) for name, counts in score.by_protocol.items()},
        "slowest": {name: round(took, 2) for name, took in sorted(score.slowest.items())},
        "memory_mb": [round(mb, 1) for _, mb, *_ in samples][:: max(1, len(samples) // 60)],
        "memory_growth_mb_per_minute": round(growth(samples), 3),
        "most_sockets": max(sockets for *_, sockets, _ in samples),
        "most_tasks": max(tasks for *_, tasks in samples),
        "violations": score.violations,
    }


def table(result: dict[str, Any]) -> str:
    struck = sum(result["struck"].values())
    lines = [
        f"{result['options']['seconds']:g} s, seed {result['options']['seed']}, "
        f"{result['connections']} connections, {struck} struck",
        "",
        f"{'protocol':<20}{'words':>8}{'uses':>7}{'errors':>8}{'interrupted':>13}{'wrong':>7}",
    ]
    for name, counts in result["protocols"].items():
        uses = sum(counts.get(what, 0) for what in ("streams", "utterances", "answers"))
        errors = sum(n for what, n in counts.items() if what.endswith("in an error"))
        stopped = sum(n for what, n in counts.items() if what.endswith("interrupted"))
        wrong = sum(counts.get(what, 0) for what in WRONG)
        words = counts.get("words", 0)
        lines.append(f"{name:<20}{words:>8}{uses:>7}{errors:>8}{stopped:>13}{wrong:>7}")
    lines.append("")
    lines += [f"{name:<24}{number:>6}" for name, number in result["wrong"].items()]
    memory = result["memory_mb"]
    lines.append(
        f"memory {memory[0]} to {memory[-1]} MB, growing "
        f"{result['memory_growth_mb_per_minute']} MB a minute in the second half"
    )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sessions", type=int, default=2, help="of each protocol")
    parser.add_argument("--speed", type=float, default=2.0, help="of speech, over real time")
    parser.add_argument("--rate", type=float, default=0.4, help="share of connections struck")
    parser.add_argument("--json", help="file for the result")
    options = vars(parser.parse_args())
    path = options.pop("json")
    # Each fault is logged as it should be; here only the outcome counts.
    logging.disable(logging.CRITICAL)
    result = asyncio.run(soak(**options))
    if path:
        Path(path).write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    for violation in result["violations"]:
        print(json.dumps(violation))
    return 1 if any(result["wrong"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
