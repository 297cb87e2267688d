"""Feeds decoders what no server should send, guided by coverage.

``uv run --with atheris python benchmarks/fuzz/fuzz.py [--seconds S] [DECODER ...]`` fuzzes each
decoder for so long, from the kept corpus on, and keeps what reached new code. The decoders are in
``decoders.py``; the tests replay the corpus. A find ends the run, with its input in ``crash-…``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
MAX_INPUT = 4096  # bytes
PATIENCE = 10  # seconds for one input
MEMORY = 2048  # megabytes
KEPT = 40  # inputs of a decoder in the kept corpus, the smallest first


def fuzz_one(name: str, arguments: list[str]) -> None:
    """Run libFuzzer on a decoder, in this process, until it ends it."""
    import atheris

    with atheris.instrument_imports(include=["livekit.plugins"]):
        from decoders import DECODERS

    atheris.Setup([sys.argv[0], *arguments], DECODERS[name])
    atheris.Fuzz()


def run(name: str, seconds: float, scratch: Path) -> int:
    """Fuzz a decoder in a process of its own, and keep what is new."""
    kept, found = CORPUS / name, scratch / name
    for folder in (kept, found):
        folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_len={MAX_INPUT}", f"-timeout={PATIENCE}", f"-rss_limit_mb={MEMORY}"]
    base = [sys.executable, __file__, "--one", name]
    command = [*base, f"-max_total_time={int(seconds)}", *limits, "-print_final_stats=1"]
    done = subprocess.run(
        [*command, f"-artifact_prefix={scratch}/crash-{name}-", str(found), str(kept)],
        stderr=subprocess.PIPE,
        text=True,
    )
    tail = done.stderr.splitlines()
    stats = [line for line in tail if "number_of_executed_units" in line or "peak_rss" in line]
    print(name, "ok" if done.returncode == 0 else "FOUND", *(s.split(":")[-1] for s in stats))
    if done.returncode:
        print(done.stderr[-6000:])
        return done.returncode
    # libFuzzer has written only what reached something new. The kept seeds come first.
    for path in sorted(found.iterdir(), key=lambda path: path.stat().st_size):
        if len(list(kept.iterdir())) >= KEPT:
            break
        (kept / path.name).write_bytes(path.read_bytes())
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decoders", nargs="*", help="all when none is named")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each")
    parser.add_argument("--scratch", type=Path, default=Path(gettempdir(), "baseten-fuzz"))
    options = parser.parse_args()
    sys.path.insert(0, str(HERE))
    from decoders import DECODERS

    options.scratch.mkdir(exist_ok=True)
    codes = [
        run(name, options.seconds, options.scratch) for name in options.decoders or list(DECODERS)
    ]
    return max(codes)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz_one(sys.argv[2], sys.argv[3:])
    sys.exit(main())
