"""The Pythons that the packages are for, and those that are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["PYTHONS", "find"]

PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def find(version: str) -> Path | None:
    """An installed interpreter of that version; nothing is downloaded."""
    if sys.version.startswith(f"{version}."):
        return Path(sys.executable)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(pyenv.glob(f"{version}.*/bin/python"))
    if on_path := shutil.which(f"python{version}"):
        found.append(Path(on_path))
    for candidate in found:
        if _succeeds(candidate, "-c", f"import sys; assert sys.version.startswith('{version}.')"):
            return candidate
    known = _succeeds("uv", "python", "find", "--no-python-downloads", version)
    return Path(known.strip()) if known else None


def _succeeds(*command: str | Path) -> str:
    """What a command printed, or a line's end; nothing if it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout or "\n"
