"""How long it takes until a listener hears the first sound, and until a server stops speaking.

A local Baseten with a tone voice runs in a process of its own, behind a link with a round trip. For
each protocol 100 utterances are spoken, 30 % of them cut off at a random moment; the one after a cut
follows after ``--pause``. What is printed is in round trips of the link:

- ``first``: the first utterance after ``prewarm()``;
- ``later``: median and worst of the others;
- ``own``: what the server and the client need without the link, in milliseconds, which is taken off.

``stop`` is the time from closing a stream to the server's seeing it, on loopback without the link.

With ``--peer PYTHON``, an interpreter that has the published plugin speaks the same utterances.

Run ``python benchmarks/tts.py [--round-trip SECONDS] [--utterances N] [--pause SECONDS] [--json FILE]
[--peer PYTHON]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from typing import Any

TEXT = "Good morning, this is Tara speaking. What is it that I can do for you today, my friend?"
WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "orpheus over websocket": ("orpheus2", "websocket", {}),
    "orpheus over http": ("orpheus1", "predict", {}),
    "qwen3-tts": (
        "qwentts1",
        "websocket",
        {"model": "qwen3-tts", "voice": "vivian", "task_type": "CustomVoice"},
    ),
    "qwen3-tts, one utterance a socket": (
        "qwentts2",
        "websocket",
        {"model": "qwen3-tts", "voice": "vivian", "task_type": "CustomVoice"},
    ),
}


async def speak(args: argparse.Namespace) -> list[float]:
    """Speak as told, and give the seconds to the first sound of each utterance."""
    from livekit.agents import tts as agents_tts, utils

    if args.peer_here:
        from livekit.plugins.baseten import TTS
    else:
        from livekit.plugins.baseten_tts import TTS
    choice = random.Random(1)
    seconds: list[float] = []
    async with utils.http_context.open():
        tts: agents_tts.TTS = TTS(
            api_key="sandbox-key", model_endpoint=args.endpoint, **json.loads(args.options)
        )
        tts.prewarm()
        await asyncio.sleep(args.pause)
        speaker = tts if tts.capabilities.streaming else agents_tts.StreamAdapter(tts=tts)
        for _ in range(args.utterances):
            cut = choice.random() < 0.3
            stream = speaker.stream()
            start = time.perf_counter()
            for i in range(0, len(TEXT), 5):
                stream.push_text(TEXT[i : i + 5])
            stream.end_input()
            first: float | None = None
            async for _ in stream:
                first = first or time.perf_counter() - start
                if cut and choice.random() < 0.2:
                    break
            await stream.aclose()
            seconds.append(first or 0.0)
            await asyncio.sleep(args.pause)
        await tts.aclose()
    return seconds


async def run_elsewhere(python: str, *arguments: str) -> list[float]:
    process = await asyncio.create_subprocess_exec(
        python,
        __file__,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 600)
    if process.returncode:
        raise SystemExit(f"{python} failed")
    values: list[float] = json.loads(out)
    return values


async def stop_times(count: int = 20) -> list[float]:
    """Seconds from closing a stream to the server's seeing it."""
    from livekit.agents import utils
    from livekit.plugins.baseten_sandbox import Fault, Sandbox
    from livekit.plugins.baseten_tts import TTS

    seconds: list[float] = []
    async with (
        Sandbox(transcriber="tones", synthesizer="tones") as sandbox,
        utils.http_context.open(),
    ):
        tts = TTS(
            api_key=sandbox.api_key,
            model_endpoint=sandbox.tts_websocket_endpoint,
            warm_sockets=0,
        )
        for number in range(count):
            sandbox.faults.add(Fault(do="mute", on="send", kind="binary", after=4))
            stream = tts.stream()
            stream.push_text(TEXT)
            await anext(stream)
            start = time.perf_counter()
            await stream.aclose()
            await sandbox.wait_for(lambda number=number: sandbox.sessions[number].closed)
            seconds.append(time.perf_counter() - start)
        await tts.aclose()
    return seconds


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    from livekit.plugins.baseten_sandbox import Sandbox

    results: dict[str, Any] = {"round_trip": args.round_trip}
    engines: dict[str, Any] = {
        "api_key": "sandbox-key",
        "transcriber": "tones",
        "synthesizer": "tones",
    }
    async with Sandbox(**engines) as near, Sandbox(**engines, round_trip=args.round_trip) as far:
        for way, (deployment, route, options) in WAYS.items():
            results[way] = {}
            for who, python in {"ours": sys.executable, "peer": args.peer}.items():
                if not python:
                    continue

                async def run(
                    sandbox: Sandbox,
                    utterances: int,
                    pause: float,
                    where: tuple[str, str] = (deployment, route),
                    options: dict[str, Any] = options,
                    python: str = python,
                    peer: bool = who == "peer",
                ) -> list[float]:
                    arguments = ["--endpoint", sandbox.url(*where)]
                    arguments += ["--options", json.dumps(options)]
                    arguments += ["--utterances", str(utterances), "--pause", str(pause)]
                    return await run_elsewhere(python, *arguments, *["--peer-here"] * peer)

                own = statistics.median(await run(near, 15, 0.05))
                seconds = await run(far, args.utterances, args.pause)
                trips = [(value - own) / args.round_trip for value in seconds]
                results[way][who] = {
                    "own": own,
                    "first": trips[0],
                    "median": statistics.median(trips[1:]),
                    "worst": max(trips[1:]),
                }
                print(
                    f"{way:36}{who:6}own {own * 1e3:5.1f} ms   first {trips[0]:5.2f}   later"
                    f" {statistics.median(trips[1:]):5.2f}   worst {max(trips[1:]):5.2f}",
                    flush=True,
                )
            await far.wait_for(lambda: far.open_sockets == 0)
    stops = await stop_times()
    results["stop"] = {"median": statistics.median(stops), "worst": max(stops)}
    print(f"stop: median {statistics.median(stops) * 1e3:.1f} ms, worst {max(stops) * 1e3:.1f} ms")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--round-trip", type=float, default=0.1)
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("--pause", type=float, default=0.6)
    parser.add_argument("--json")
    parser.add_argument("--peer")
    parser.add_argument("--endpoint", help=argparse.SUPPRESS)
    parser.add_argument("--options", help=argparse.SUPPRESS)
    parser.add_argument("--peer-here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.endpoint:
        print(json.dumps(asyncio.run(speak(args))))
        return
    results = asyncio.run(measure(args))
    if args.json:
        with open(args.json, "w") as f:
            json.dump(results, f, indent=2)


if __name__ == "__main__":
    main()
