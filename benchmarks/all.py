"""All benchmarks, one after the other; figures, tables and pictures go into a folder.

    python benchmarks/all.py --out FOLDER [--short] [--peer PYTHON | --no-peer] [--only NAME ...]

Takes about 18 minutes, and means something only while nothing else runs on the machine. The soak,
the fuzzing and the capacity model have commands of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

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


def summary(folder: Path) -> str:
    """The targets of all figures in a folder, as a table in Markdown."""
    lines = ["| Benchmark | Scene | Measure | Target | Figure | Met |", "|---|---|---|---|---|---|"]
    for name in BENCHMARKS:
        path = folder / f"{name}.json"
        found = json.loads(path.read_text()) if path.exists() else {"targets": []}
        for target in found["targets"]:
            measure = found["measures"][target["measure"]]
            figure, limit = (f"{target[k]:,.{measure['digits']}f}" for k in ("figure", "limit"))
            lines.append(
                f"| `{name}` | {target['scene']} | {measure['title']} | {target['text']}: {limit} "
                f"{measure['unit']} | {figure} | {'yes' if target['met'] else '**no**'} |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--out", type=Path, required=True, help="where everything goes")
    options.add_argument("--only", nargs="+", choices=BENCHMARKS, help="just these")
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
    print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
