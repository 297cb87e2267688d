"""All benchmarks, one after the other; figures, tables and pictures go into a folder.

    python benchmarks/all.py --out FOLDER [--only NAME ...] [--results FILE]

Takes about 20 minutes, and means something only while nothing else runs on the machine. The soak,
the fuzzing and the capacity model have commands of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from arena import parser, peer_python
from process import HERE

# Those that saturate the machine come last.
BENCHMARKS = (
    "imports",
    "llm",
    "tts",
    "tts_cpu",
    "stt_final",
    "stt_latency",
    "stt_recovery",
    "stt_memory",
    "stt_cpu",
    "sandbox",
)


_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"


def summary(folder: Path) -> str:
    """What was aimed at and what was found, out of a folder of figures, as Markdown."""
    lines = [
        "| Benchmark | Measure | Scene | Bare | Ours | Peer | Target | Met |",
        "|---|---|---|---:|---:|---:|---|---|",
    ]
    found = [
        json.loads(path.read_text())
        for name in BENCHMARKS
        if (path := folder / f"{name}.json").exists()
    ]
    for report in found:
        aims: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for target in report["targets"]:
            aims.setdefault((target["measure"], target["scene"]), []).append(target)
        order = list(report["measures"])
        for (measure, scene), targets in sorted(aims.items(), key=lambda a: order.index(a[0][0])):
            told = report["measures"][measure]
            medians = (
                f"{client[measure]['median']:,.{told['digits']}f}" if measure in client else "–"
                for kind in ("bare", "ours", "peer")
                for client in [report["scenes"][scene].get(kind, {})]
            )
            lines.append(
                f"| `{report['benchmark']}.py` | {told['title']}, {told['unit']} | {scene} | "
                f"{' | '.join(medians)} | {'; '.join(t['text'] for t in targets)} | "
                f"{'; '.join('yes' if t['met'] else '**no**' for t in targets)} |"
            )
    dates = sorted({report["date"] for report in found})
    machines = {json.dumps(report["machine"] | {"load": 0}) for report in found}
    for machine in map(json.loads, sorted(machines)):
        lines += [
            "",
            f"{' and '.join(dates)}, {machine['cpus']} CPUs, {machine['system']}, Python "
            f"{machine['python']}, livekit-agents {machine['livekit-agents']}.",
        ]
    return "\n".join(lines) + "\n"


def put(table: str, path: Path) -> None:
    """Put a table in the place of the one in a document."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{path} has no place for the figures")
    path.write_text(f"{before}{begin}\n{table}{end}{after}", encoding="utf-8")


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--out", type=Path, required=True, help="where everything goes")
    options.add_argument("--only", nargs="+", choices=BENCHMARKS, help="just these")
    options.add_argument("--results", type=Path, help="a document to put the table into")
    args = options.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    common = ["--short"] if args.short else []
    common += ["--no-peer"] if args.no_peer else ["--peer", args.peer or peer_python()]
    failed = []
    for name in args.only or BENCHMARKS:
        start = time.monotonic()
        files = ["--json", str(args.out / f"{name}.json"), "--svg", str(args.out / f"{name}.svg")]
        done = subprocess.run(
            [sys.executable, str(HERE / f"{name}.py"), *common, *files],
            capture_output=True,
            text=True,
        )
        (args.out / f"{name}.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
        ending = "" if done.returncode == 0 else f", failed: {done.stderr[-500:]}"
        print(f"{name}: {time.monotonic() - start:.0f} s{ending}", flush=True)
        failed += [name] if done.returncode else []
    table = summary(args.out)
    (args.out / "summary.md").write_text(table, encoding="utf-8")
    if args.results:
        put(table, args.results)
    print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
