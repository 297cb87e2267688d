"""How much longer a program takes to start when it imports a component besides livekit-agents.

    python benchmarks/imports.py [--rounds 5]

Each import is made in a fresh interpreter, which first imports ``livekit.agents`` and then the
component, and times both: the pair shares all that a machine does to it. In between the garbage of
the first is collected, which takes longer than most components and would fall on any of them by
chance. Shown is what the component adds, in percent of ``livekit.agents``, and how many modules of
``openai`` it brought along that weren't there before. The components take
turns.
"""

from __future__ import annotations

import json
import subprocess
import sys

from arena import Arena, parser
from process import surroundings
from report import Measure, Report

PROGRAM = """
import gc, json, sys, time
start = time.perf_counter()
import livekit.agents
agents = time.perf_counter() - start
gc.collect()
gc.freeze()
before = set(sys.modules)
start = time.perf_counter()
__import__(sys.argv[1])
more = time.perf_counter() - start
new = [name for name in set(sys.modules) - before if name.partition(".")[0] == "openai"]
print(json.dumps({"agents": agents, "more": more, "openai": len(new)}))
"""
COMMON = "livekit.plugins."
COMPONENTS = ("baseten_stt", "baseten_tts", "baseten_llm")
OURS = (*COMPONENTS, "baseten")  # the last has all of them
NO_OPENAI = ("baseten_stt", "baseten_tts")


def measure(python: str, component: str) -> dict[str, float]:
    """Import one in a fresh interpreter."""
    done = subprocess.run(
        [python, "-c", PROGRAM, COMMON + component],
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    args = options.parse_args()
    report = Report(
        "imports",
        "Importing a component besides livekit-agents",
        {
            "percent": Measure("import time over livekit.agents alone", "%", 2),
            "more": Measure("import time added", "ms", 1, drawn=False),
            "agents": Measure("import time of livekit.agents", "ms", 0, drawn=False),
            "openai": Measure("modules of openai that it brought along", "modules", 0, drawn=False),
        },
    )
    with Arena(args) as arena:
        chosen = OURS[:1] if args.short else OURS
        plan = {module: (module, "ours", sys.executable) for module in chosen}
        if "peer" in arena.pythons:
            plan["peer"] = ("baseten", "peer", arena.pythons["peer"])
        for module, _, python in plan.values():
            if not args.short:
                measure(python, module)  # compiles to bytecode what isn't yet
        for _, _, (module, kind, python) in arena.turns(plan, args.rounds):
            told = measure(python, module)
            report.add(
                module,
                kind,
                percent=100 * told["more"] / told["agents"],
                more=1000 * told["more"],
                agents=1000 * told["agents"],
                openai=told["openai"],
            )
        for module in COMPONENTS:
            report.aim(module, "percent", "3 %", at_most=3.0)
        for module in NO_OPENAI:
            report.aim(module, "openai", "none", at_most=0)
        arena.deliver(report)


if __name__ == "__main__":
    main()
