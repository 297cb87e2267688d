"""Builds every package, installs each wheel alone in a fresh environment, and imports it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEAVES = ("common", "stt", "tts", "llm", "sandbox", "")

# What a component must not pull in: users install one component to have only that.
IMPORT = """
import importlib, sys
try:
    import livekit.agents  # which loads openai itself
except ImportError:
    assert sys.argv[1] == "baseten_sandbox"
leaf, *absent = sys.argv[1:]
before = set(sys.modules)
module = importlib.import_module("livekit.plugins." + leaf)
missing = [name for name in module.__all__ if not hasattr(module, name)]
assert not missing, missing
new = set(sys.modules) - before
loaded = [name for name in new if name.startswith(tuple(absent))]
assert not loaded, f"{leaf} loads {loaded}"
print(leaf, module.__version__)
"""


def run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.stdout.buffer.write(done.stdout)
        sys.exit(f"failed: {' '.join(map(str, command))}")


def check(leaf: str, built: Path, scratch: Path) -> None:
    module = f"baseten_{leaf}" if leaf else "baseten"
    (wheel,) = built.glob(f"livekit_plugins_{module}-[0-9]*.whl")
    venv = scratch / module
    python = venv / "bin" / "python"
    run("uv", "venv", "--quiet", "--python", sys.executable, venv)
    run("uv", "pip", "install", "--quiet", "--python", python, "--find-links", built, wheel)
    absent = []
    if leaf in ("common", "stt", "tts", "sandbox"):
        absent += ["openai", "livekit.plugins.openai", "livekit.plugins.baseten_llm"]
    if leaf:
        absent += ["livekit.plugins.baseten."]
    subprocess.run([str(python), "-c", IMPORT, module, *absent], cwd=scratch, check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        built = scratch / "dist"
        # Without the workspace's sources, so that an undeclared dependency can't hide.
        run("uv", "build", "--quiet", "--all-packages", "--no-sources", "--out-dir", built)
        for leaf in LEAVES:
            check(leaf, built, scratch)


if __name__ == "__main__":
    main()
