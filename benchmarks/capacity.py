"""How many calls fit a core, a machine and a fleet, and how much of Baseten they need.

    python benchmarks/capacity.py                    print what the kept measurement comes to
    python benchmarks/capacity.py --measure          measure, and hold the model against it
    python benchmarks/capacity.py --measure --write  the same, and renew the figures everywhere:
                                                     CAPACITY.md, capacity.json, capacity.svg

The model and its inputs are in ``capacity_model.py``. What is measured is one call alone in a
process of its own, as LiveKit has it, and then ever more calls in one process on one core, until
one of them falls behind three times in a row: audio is pushed more than 50 ms late, or a message of
the server becomes an event more than 100 ms late (both: 1 of 100 times), or anything fails. The
servers, a sandbox for text-to-speech and the LLM and ``metronome.py`` for speech-to-text, are in
processes of their own on the other cores. How many calls that is, is predicted from what few calls
cost; the ratio is printed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import statistics
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from capacity_model import (
    BESIDE,
    CONVERSATION,
    FRAMEWORK,
    MACHINE,
    WHISPER,
    WHISPER_DENSE,
    Conversation,
    Cost,
    fleet,
    limits,
)
from picture import Group, Panel, draw
from process import HERE, Process
from report import machine

__all__ = ["costs", "document", "kept_up", "predicted"]

KEPT, PICTURE = HERE / "capacity.json", HERE / "capacity.svg"
DOCUMENT = HERE / "CAPACITY.md"
BEGIN, END = "<!-- figures: capacity.py writes them -->", "<!-- end of figures -->"
LATE_AUDIO, LATE_EVENT = 0.05, 0.1  # seconds
BUSY = 0.5  # of load, beyond which figures mean little
TRIES = 3  # before calls count as too many
WORDS = 15  # of an answer; the sandbox's voice takes 0.3 s for each


def kept_up(step: dict[str, Any]) -> bool:
    """Whether no call fell behind."""
    return bool(step["behind"] <= LATE_AUDIO and step["delay"] <= LATE_EVENT and not step["failed"])


def predicted(steps: list[dict[str, Any]]) -> int:
    """How many calls fill a core, from what the first two steps cost."""
    few, more = steps[:2]
    each = (more["cpu"] - few["cpu"]) / (more["calls"] - few["calls"])
    fixed = few["cpu"] - each * few["calls"]
    return math.floor((1 - fixed) / each) if each > 0 else 0


def costs(measured: dict[str, Any]) -> tuple[Cost, Cost]:
    """Of the plugins alone, and of a whole job: the framework's as published and the plugins'."""
    alone = measured["alone"]
    plugins = Cost(alone["cpu"], alone["memory"], "measured", "capacity.json")
    memory = max(FRAMEWORK.memory, plugins.memory)
    return plugins, Cost(FRAMEWORK.cpu + plugins.cpu, memory, "published", FRAMEWORK.source)


class Bench:
    """The processes: two servers, and clients."""

    def __init__(self, stack: ExitStack, conversation: Conversation) -> None:
        self._stack = stack
        self.servers = [self._process("servers.py") for _ in range(2)]
        box = self.servers[1].do("sandbox", name="calls", token_pace=0.01)
        self._job = {
            "place": {
                "key": box["key"],
                "stt": self.servers[0].do("metronome"),
                "tts": box["urls"]["orpheus2"],
                "llm": box["llm"],
            },
            "shape": {
                "turn": conversation.turn,
                "tokens": WORDS,
                "warm_sockets": conversation.warm_sockets,
            },
        }

    def _process(self, program: str) -> Process:
        process = Process(program)
        self._stack.callback(process.close)
        return process

    def client(self) -> Process:
        return self._process("capacity_client.py")

    def hold(self, clients: list[Process], calls: int, seconds: float) -> list[dict[str, Any]]:
        """Have each client hold so many calls, all at a time."""
        for client in clients:
            client.send("hold", number=calls, seconds=seconds, **self._job)
        return [client.result() for client in clients]

    def separate(self, client: Process) -> bool:
        """Give the client a core of its own; whether the system can do that."""
        with suppress(AttributeError, OSError):
            first, *others = sorted(os.sched_getaffinity(0))
            if others:
                os.sched_setaffinity(client.pid, {first})
                for server in self.servers:
                    os.sched_setaffinity(server.pid, set(others))
                return True
        return False

    def serving(self) -> float:
        """Seconds of CPU that the servers have used."""
        return sum(server.do("cpu") for server in self.servers)


def waiting(process: Process) -> float:
    """Seconds that its main thread was ready and had no core, where the system tells."""
    try:
        return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    conversation = CONVERSATION
    seconds, most, first = options.seconds, options.most, 25
    if options.short:
        conversation = Conversation(turn=1.0, speech=0.5)
        seconds, most, first = 1.0, 4, 2
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        bench = Bench(stack, conversation)
        clients = [bench.client() for _ in range(1 if options.short else 3)]
        empty = bench.hold(clients, 0, 0.1)
        alone = bench.hold(clients, 1, 2 * seconds)
        for client in clients:
            client.do("close")
        client = clients[0]
        separate = bench.separate(client)
        steps: list[dict[str, Any]] = []
        calls, tries = first, 0
        while calls <= most:
            served, waited, begun = bench.serving(), waiting(client), time.monotonic()
            step = bench.hold([client], calls, seconds)[0]
            took = time.monotonic() - begun
            step["servers"] = (bench.serving() - served) / took
            step["waited"] = (waiting(client) - waited) / took
            print(row(step), flush=True)
            tries += 1
            # Something else on the machine may have been in the way.
            if kept_up(step) or tries == TRIES:
                steps.append(step)
                tries = 0
                if not kept_up(step):
                    break
                calls = 2 * calls if len(steps) < 2 else max(calls + first, round(1.2 * calls))
        client.do("close")

    def median(what: str, of: list[dict[str, Any]]) -> float:
        return statistics.median(step[what] for step in of)

    return {
        "date": datetime.date.today().isoformat(),
        "machine": {
            **machine(),
            "load before": load,
            "core of its own": separate,
            "short": options.short,
        },
        "turn": conversation.turn,
        "empty": {"memory": median("memory", empty)},
        "alone": {what: median(what, alone) for what in ("cpu", "memory", "sockets", "speaking")},
        "steps": steps,
        "predicted": predicted(steps),
        "held": max((step["calls"] for step in steps if kept_up(step)), default=0),
    }


def row(step: dict[str, Any]) -> str:
    kept = "yes" if kept_up(step) else "no"
    return (
        f"| {step['calls']} | {100 * step['cpu']:.0f} % | {100 * step['servers']:.0f} % "
        f"| {100 * step['waited']:.0f} % | {1000 * step['behind']:.0f} ms | {1000 * step['delay']:.0f} ms "
        f"| {step['sockets'] / step['calls']:.2f} | {step['failed']} | {kept} |"
    )


def figures(measured: dict[str, Any]) -> str:
    """All figures, as Markdown."""
    machine, alone, steps = measured["machine"], measured["alone"], measured["steps"]
    plugins, whole = costs(measured)
    turn, warm = CONVERSATION.turn, CONVERSATION.warm_sockets
    last = steps[-1]
    growth = (last["memory"] - steps[0]["memory"]) / (last["calls"] - steps[0]["calls"])
    lines = [
        f"Measured on {measured['date']}: {machine['cpus']} CPUs, {machine['system']}, Python "
        f"{machine['python']}, livekit-agents {machine['livekit-agents']}; a turn each "
        f"{measured['turn']:g} s, {alone['speaking']:.2f} s of speech a second; load before it "
        f"began {machine['load before']:.1f}"
        + (": **the machine was busy, measure again**." if machine["load before"] > BUSY else "."),
        "",
        "| One call alone in its process | Measured |",
        "|---|---:|",
        f"| CPU of the plugins | {1000 * plugins.cpu:.1f} ms a second |",
        f"| Memory of the process with everything imported | {measured['empty']['memory']:.0f} MB |",
        f"| The same with its call | {plugins.memory:.0f} MB |",
        f"| Connections (model: {BESIDE + warm + CONVERSATION.speaking:.2f}) | {alone['sockets']:.2f} |",
        "",
        "| Calls in one process | Its CPU | The servers' CPU | Ready without a core | Audio late, p99 "
        "| Events late, p99 | Connections a call | Failed | Kept up |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---|",
        *map(row, steps),
        "",
        f"Predicted from the first two rows, a full core: {measured['predicted']} calls. Held: "
        f"{measured['held']}"
        + ("" if not kept_up(last) else ", and the run ended before any fell behind")
        + f". Ratio {measured['held'] / max(1, measured['predicted']):.2f}. Another call in the "
        f"same process takes {growth:.1f} MB.",
        "",
        "| One of these | Calls at once |",
        "|---|---:|",
        *(f"| {name} | {calls:,} |" for name, calls in limits(whole, plugins)),
        "",
        "| Needed for | 1,000 calls | 1,000,000 calls |",
        "|---|---:|---:|",
    ]
    small, large = (fleet(calls, whole) for calls in (1_000, 1_000_000))
    dense = [fleet(calls, whole, transcriber=WHISPER_DENSE) for calls in (1_000, 1_000_000)]
    bare = [
        fleet(calls, whole, Conversation(warm_sockets=0)).speakers for calls in (1_000, 1_000_000)
    ]
    lines += [
        f"| {name} | {a:,.0f} | {b:,.0f} |"
        for name, a, b in [
            (f"Agent servers of {MACHINE.cores} cores", small.machines, large.machines),
            ("Cores of them that are busy", small.cores, large.cores),
            ("… of which the plugins", 1_000 * plugins.cpu, 1_000_000 * plugins.cpu),
            ("Memory of job processes, GB", small.memory, large.memory),
            (f"GPUs: {WHISPER.name}", small.transcribers, large.transcribers),
            (f"… {WHISPER_DENSE.name}", dense[0].transcribers, dense[1].transcribers),
            (f"GPUs: Orpheus, {warm} warm socket a call", small.speakers, large.speakers),
            ("… without warm sockets", *bare),
            (f"Requests to the LLM a minute (a turn each {turn:g} s)", small.requests,
             large.requests),
            ("… in times the Pro plan", small.plans, large.plans),
            ("Requests to the LLM at once", small.in_flight, large.in_flight),
            ("Outgoing addresses", small.addresses, large.addresses),
        ]
    ]  # fmt: skip
    lines.append(f"| Sound, Gbit/s | {small.gigabits:.2f} | {large.gigabits:.0f} |")
    return "\n".join(lines)


def document(text: str, measured: dict[str, Any]) -> str:
    """The document with these figures in it."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{figures(measured)}\n\n{END}{tail}"


def picture(measured: dict[str, Any]) -> str:
    _, whole = costs(measured)
    steps = measured["steps"]
    each = 100 / max(1, measured["predicted"])
    held = [
        Group(f"{step['calls']} calls", {"measured": 100 * step["cpu"], "model": each * step["calls"]})
        for step in steps
    ]  # fmt: skip
    small = fleet(1_000, whole)
    bare = fleet(1_000, whole, Conversation(warm_sockets=0)).speakers
    needed = {
        "agent servers, 4 cores": small.machines,
        "Whisper, H100": small.transcribers,
        "Orpheus, H100 MIG": small.speakers,
        "… no warm sockets": bare,
        "Pro plans of the LLM": small.plans,
    }
    panels = [
        Panel("CPU of one process with many calls", "% of a core", held, 0),
        Panel(
            "Needed for 1,000 calls at once",
            "pieces",
            [Group(name, {"model": number}) for name, number in needed.items()],
            0,
        ),
    ]
    return draw("Capacity", panels, note="the model's inputs: CAPACITY.md")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--write", action="store_true", help="renew the figures in this folder")
    parser.add_argument("--short", action="store_true", help="seconds, to see that it works")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each step")
    parser.add_argument("--most", type=int, default=1000, help="calls to try")
    parser.add_argument("--json", type=Path, help="write the measurement here too")
    parser.add_argument("--svg", type=Path, help="draw it here")
    options = parser.parse_args()
    if options.write and options.short:
        parser.error("a short run measures nothing that is worth keeping")
    measured = measure(options) if options.measure else json.loads(KEPT.read_text())
    print(figures(measured))
    if options.write:
        DOCUMENT.write_text(document(DOCUMENT.read_text(), measured))
    for path in (options.json, KEPT if options.write else None):
        if path:
            path.write_text(json.dumps(measured, indent=1) + "\n")
    for path in (options.svg, PICTURE if options.write else None):
        if path:
            path.write_text(picture(measured))


if __name__ == "__main__":
    main()
