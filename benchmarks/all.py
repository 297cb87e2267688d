"""All benchmarks, one after the other; figures, tables and pictures go into a folder.

    python benchmarks/all.py --out FOLDER [--only NAME ...] [--results FILE]

Takes about 35 minutes, and means something only while nothing else runs on the machine. Without
``--peer`` the published plugin is installed first, once. A benchmark that fails or takes too long is
told, the others run all the same, and the status is 1; a document is then left as it was. The soak,
the fuzzing and the capacity model have commands of their own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
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

LIMIT = 1200.0  # seconds that one may take; the longest needs twelve minutes
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


def run(command: list[str], limit: float) -> tuple[str, str]:
    """Run a benchmark, and end it with all that it started if it takes too long.

    Returns:
        What it printed, and how it failed; blank if it didn't.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A group of its own, so that its servers and clients end with it.
        start_new_session=True,
    )
    failure = ""
    try:
        printed, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        failure = f"ended, since it took more than {limit:g} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if failure:
        printed, errors = process.communicate()
    elif process.returncode:
        failure = f"failed: {errors[-500:]}"
    return printed + errors, failure


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--out", type=Path, required=True, help="where everything goes")
    options.add_argument("--only", nargs="+", choices=BENCHMARKS, help="just these")
    options.add_argument("--results", type=Path, help="a document to put the table into")
    options.add_argument("--limit", type=float, default=LIMIT, help="seconds for each of them")
    args = options.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    common = ["--short"] if args.short else []
    common += ["--no-peer"] if args.no_peer else ["--peer", args.peer or peer_python()]
    failed = []
    for name in args.only or BENCHMARKS:
        start = time.monotonic()
        files = {kind: args.out / f"{name}.{kind}" for kind in ("json", "svg", "txt")}
        for file in files.values():
            file.unlink(missing_ok=True)  # of an earlier run, which would pass for this one's
        shown = ["--json", str(files["json"]), "--svg", str(files["svg"])]
        printed, failure = run(
            [sys.executable, str(HERE / f"{name}.py"), *common, *shown], args.limit
        )
        files["txt"].write_text(f"{printed}{failure}", encoding="utf-8")
        print(f"{name}: {time.monotonic() - start:.0f} s{failure and ', ' + failure}", flush=True)
        failed += [name] if failure else []
    table = summary(args.out)
    (args.out / "summary.md").write_text(table, encoding="utf-8")
    if args.results and not failed:
        put(table, args.results)
    print(table)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
