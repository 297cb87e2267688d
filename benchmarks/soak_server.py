"""The local Baseten of the soak: it fails all the time, at random, and counts how often.

Run by ``soak.py`` in a process of its own: ``python benchmarks/soak_server.py SEED RATE``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.dialogue import Reply, Text
from livekit.plugins.baseten_sandbox.engines.tones import speak

__all__ = ["KEY", "VOCABULARY", "WORDS", "serve"]

KEY = "sandbox-key"
WORDS = 3000
# Both processes learn the words in this order, so that each knows what the other says.
VOCABULARY = [f"w{n}{end}" for n in range(WORDS) for end in ("", ".")]

REFUSALS = [
    Fault(do="status", status=502),
    Fault(do="status", status=503),
    Fault(do="status", status=429, headers={"Retry-After": "0.1"}),
    Fault(do="park"),
    Fault(do="park", seconds=0.5),
]
BREAKS = [
    *(Fault(do=do, on="send") for do in ("reset", "eof", "silence", "mute")),
    *(Fault(do="close", on="send", code=code, reason="") for code in (1001, 1011, 1012, 1013)),
    Fault(do="replace", on="send", payload="{"),
]
SPEAKING = [
    *(Fault(do=do, on="receive") for do in ("reset", "eof", "silence", "mute")),
    *(Fault(do="close", on="receive", code=code, reason="") for code in (1000, 1001, 1011, 1012)),
    Fault(do="send", on="receive", payload={"type": "error", "message": "internal error"}),
]
BODIES = [
    *(Fault(do=do, on="send", unit="bytes", after=1) for do in ("reset", "eof", "mute")),
    Fault(do="status", status=200, body={"error": "out of memory"}),
]
FINISH = Fault(do="finish", on="send")
# The faults of each deployment, and how far into a connection they strike.
MISCHIEF: dict[str, tuple[list[Fault], int]] = {
    "whisper1": ([*REFUSALS, *BREAKS, *SPEAKING], 200),
    "qwenasr1": ([*REFUSALS, *BREAKS, *SPEAKING], 200),
    "orpheus1": ([*REFUSALS, *BODIES], 60000),
    "orpheus2": ([*REFUSALS, *BREAKS], 12),
    "qwentts1": ([*REFUSALS, *BREAKS, FINISH], 20),
    "qwentts2": ([*REFUSALS, *BREAKS, FINISH], 20),
    "kokoro1": ([*REFUSALS, *BODIES], 60000),
    "llm1": ([*REFUSALS, *BREAKS[:4], BREAKS[-1], FINISH], 15),
}
STRIKES = [
    *(Fault(do=do) for do in ("reset", "eof", "silence")),
    *(Fault(do="close", code=code, reason="") for code in (1001, 1011, 1012, 1013)),
]


class Counting:
    """A model that is told from which word to which it should count."""

    async def reply(self, request: Any, *, thinks: bool) -> AsyncGenerator[Reply, None]:
        first, last = map(int, request["messages"][-1]["content"].split())
        for n in range(first, last):
            yield Text(f"w{n} ")
            await asyncio.sleep(0.002)


class Ledger:
    """What the server did: connections, and what struck them."""

    def __init__(self) -> None:
        self.connections = 0
        self.struck: Counter[str] = Counter()

    def opened(self, session: Any) -> None:
        self.connections += 1

    def passed(self, session: Any, message: Any) -> None:
        pass

    def closed(self, session: Any) -> None:
        self.struck.update(session.faults)


async def serve(seed: int, rate: float) -> None:
    """Run the local Baseten and strike it, until the parent closes our input."""
    chance = random.Random(seed)
    speak(VOCABULARY)
    ledger = Ledger()
    sandbox = Sandbox(
        api_key=KEY, transcriber="tones", synthesizer="tones", chat=Counting(), keep=False
    )
    sandbox.observe(ledger)

    async def plague() -> None:
        while True:
            sandbox.faults.clear()
            for deployment, (faults, spread) in MISCHIEF.items():
                for _ in range(30):
                    struck: list[Fault] = []
                    if chance.random() < rate:
                        fault = chance.choice(faults)
                        after = fault.after + chance.randint(0, spread)
                        struck = [_later(fault, after)]
                    sandbox.faults.add(*struck, deployment=deployment)
            await asyncio.sleep(chance.uniform(0.5, 2.0))
            deployment = chance.choice(list(MISCHIEF))
            ledger.struck["open connections"] += await sandbox.strike(
                chance.choice(STRIKES), deployment=deployment
            )

    async with sandbox:
        print(sandbox.origin, flush=True)
        plaguing = asyncio.create_task(plague())
        await asyncio.to_thread(sys.stdin.readline)
        plaguing.cancel()
    told = {"connections": ledger.connections, "struck": ledger.struck}
    print(json.dumps(told), flush=True)


def _later(fault: Fault, after: int) -> Fault:
    return fault if fault.on == "handshake" else dataclasses.replace(fault, after=after)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
