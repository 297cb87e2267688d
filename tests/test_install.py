"""What is shown for installing installs what its reader needs, and no more."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from surroundings import surroundings

ROOT = Path(__file__).parent.parent
COMMANDS = re.findall(r"^pip install (\./packages.*)$", (ROOT / "README.md").read_text(), re.M)


DOCKERFILE = (ROOT / "examples" / "fleet" / "Dockerfile").read_text()


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


@pytest.mark.timeout(180)
def test_the_dockerfile_s_steps_give_a_worker_that_starts(tmp_path: Path) -> None:
    """Its commands one by one, in a virtual environment in place of an image."""
    steps = re.sub(r"\\\n\s*", "", DOCKERFILE)
    python, app = tmp_path / "venv" / "bin" / "python", tmp_path / "app"
    app.mkdir()
    run("uv", "venv", "--quiet", "--python", sys.executable, python.parent.parent)

    placed: dict[str, Path] = {}
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", steps, re.M):
        placed[target] = ROOT / source
        assert placed[target].exists(), source
    (line,) = re.findall(r"^RUN pip install (.*?) && rm -rf /src$", steps, re.M)
    wanted = [
        word.replace("/src/packages", str(placed["/src/packages"]))
        for word in shlex.split(line)
        if word != "--no-cache-dir"
    ]
    run("uv", "pip", "install", "--quiet", "--python", python, "--no-sources", *wanted)

    shutil.copy(placed["."], app)
    (command,) = re.findall(r"^CMD (.*)$", steps, re.M)
    program, *arguments = json.loads(command)
    assert program == "python"
    # With all that it imports, and that it would look for LiveKit.
    done = subprocess.run(
        [python, *arguments],
        cwd=app,
        env=surroundings(LIVEKIT_URL=""),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "ws_url is required" in done.stdout + done.stderr
    (user,) = re.findall(r"^USER (\d+)$", steps, re.M)
    manifest = (ROOT / "examples" / "fleet" / "kubernetes.yaml").read_text()
    assert f"runAsUser: {user}\n" in manifest
