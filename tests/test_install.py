from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = re.findall(r"^pip install (\./packages.*)$", (ROOT / "README.md").read_text(), re.M)


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(180)
@pytest.mark.parametrize("folders", COMMANDS)
def test_the_readme_s_install_commands_give_what_they_name(folders: str, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    run("uv", "venv", "--quiet", "--python", sys.executable, python.parent.parent)
    run(
        "uv", "pip", "install", "--quiet", "--python", python, "--no-sources", *shlex.split(folders)
    )
    leaf = folders.rpartition("/")[2].replace("-", "_")
    run(python, "-c", f"import livekit.plugins.{leaf}")
    installed = set(
        re.findall(
            r"^livekit-plugins-(baseten\S*)", run("uv", "pip", "list", "--python", python), re.M
        )
    )
    assert installed == {Path(folder).name for folder in shlex.split(folders)}
