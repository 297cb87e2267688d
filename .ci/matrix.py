"""Tries every package on each Python and with the oldest versions that it admits.

Takes long: the gate tries a part of it (packages.py). Which interpreters were looked for and aren't installed is
said at the end; nothing is downloaded but packages.

    python .ci/matrix.py                     all of it
    python .ci/matrix.py --python 3.12       one Python
    python .ci/matrix.py --versions lowest   one choice of versions
    python .ci/matrix.py --package stt       one package; may be repeated
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packages import LEAVES, built, lowest, told, try_alone
from pythons import PYTHONS, find

# The next LiveKit Agents is outside of the declared range: it is tried, and may fail. No other
# pre-release is let in with it.
NEXT = "livekit-agents==2.0.0b1"
VERSIONS = ("highest", "lowest", "next")


def main() -> None:
    parser = argparse.ArgumentParser(description="Try the packages on each Python.")
    parser.add_argument("--python", choices=PYTHONS, action="append")
    parser.add_argument("--versions", choices=VERSIONS, action="append")
    parser.add_argument("--package", choices=LEAVES, action="append")
    asked = parser.parse_args()
    failed, skipped = False, []
    with (
        tempfile.TemporaryDirectory() as folder,
        built() as packages,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        override = Path(folder) / "next.txt"
        override.write_text(NEXT)
        following: list[str | Path] = ["--override", override]
        jobs = []
        for version in asked.python or PYTHONS:
            python = find(version)
            if python is None:
                skipped.append(version)
                continue
            for versions in asked.versions or VERSIONS:
                for package in packages:
                    if package.leaf in (asked.package or LEAVES):
                        job = pool.submit(
                            try_alone,
                            package,
                            python=python,
                            versions=lowest(package) if versions == "lowest" else (),
                            override=following if versions == "next" else (),
                        )
                        jobs.append((f"Python {version}, {versions} versions", versions, job))
        for name, versions, job in jobs:
            if not told(name, job):
                failed |= versions != "next"
    for version in skipped:
        print(f"Python {version} isn't installed: skipped")
    if failed:
        sys.exit("not everything that is declared holds")


if __name__ == "__main__":
    main()
