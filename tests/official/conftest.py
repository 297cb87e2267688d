"""The official plugin, unmodified, in an environment of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from livekit.plugins.baseten_sandbox import Sandbox

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OFFICIAL = "livekit-plugins-baseten==1.8.9"
LIMIT = 120.0  # seconds that a program may take, on a slow machine too


def _environ() -> dict[str, str]:
    """This process's environment without what would lead another interpreter astray."""
    ours = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith("BASETEN_")
    }


class Environment:
    """A virtual environment, and programs that run in it.

    Args:
        python: Its interpreter.
        scratch: A folder for what the programs read and write.
    """

    def __init__(self, python: Path, scratch: Path) -> None:
        self.python = python
        self.scratch = scratch
        self._log = scratch / "log"
        self._worker: subprocess.Popen[str] | None = None

    def run(self, script: str, *arguments: str) -> Any:
        """Run a script of this folder to its end; what it printed, read as JSON."""
        done = subprocess.run(
            [self.python, HERE / script, *arguments],
            cwd=self.scratch,
            env=_environ(),
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    async def use(self, **job: Any) -> dict[str, Any]:
        """Have ``use.py`` do a job while this process goes on serving."""
        result = await asyncio.to_thread(self._ask, job)
        assert "error" not in result, result["error"]
        return result

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        if self._worker is None:
            # One for all jobs: importing livekit-agents takes longer than any of them.
            with self._log.open("a") as log:
                self._worker = subprocess.Popen(
                    [self.python, HERE / "use.py"],
                    cwd=self.scratch,
                    env=_environ(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
        worker = self._worker
        assert worker.stdin is not None
        assert worker.stdout is not None
        alarm = threading.Timer(LIMIT, worker.kill)
        alarm.start()
        try:
            worker.stdin.write(json.dumps(job) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        finally:
            alarm.cancel()
        if not line:
            self.close()
            return {"error": f"no answer within {LIMIT} s: {self._log.read_text()}"}
        result = json.loads(line)
        assert isinstance(result, dict)
        return result

    def close(self) -> None:
        """End the program that does the jobs."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.communicate()
            self._worker = None


class Workshop:
    """Makes environments with the interpreter that runs the tests."""

    def __init__(self, uv: str, folder: Path) -> None:
        self._uv = uv
        self._folder = folder
        self._made = 0

    def _command(self, *arguments: str | Path) -> str:
        # From the root, so that uv finds the date that pins every resolution here.
        done = subprocess.run(
            [self._uv, *map(str, arguments)],
            cwd=ROOT,
            env=_environ(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode:
            raise RuntimeError(f"uv {arguments[0]} failed: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def environment(self, *requirements: str | Path, seed: bool = False) -> Environment:
        """A fresh environment that holds these; with pip too if ``seed``."""
        self._made += 1
        folder = self._folder / f"environment-{self._made}"
        self._command("venv", "--python", sys.executable, *["--seed"] * seed, folder)
        scratch = folder / "scratch"
        scratch.mkdir()
        made = Environment(folder / "bin" / "python", scratch)
        if requirements:
            self.install(made, *requirements)
        return made

    def install(self, into: Environment, *what: str | Path) -> None:
        """``uv pip install``."""
        self._command("pip", "install", "--python", into.python, *what)

    def uninstall(self, out_of: Environment, name: str) -> None:
        """``uv pip uninstall``."""
        self._command("pip", "uninstall", "--python", out_of.python, name)

    def build(self, *packages: str) -> dict[str, Path]:
        """The wheels of these packages, built as they are published."""
        folder = self._folder / "wheels"
        for package in packages:
            source = ROOT / "packages" / package
            self._command("build", "--wheel", "--no-sources", source, "--out-dir", folder)
        return {
            package: next(folder.glob(f"livekit_plugins_{package.replace('-', '_')}-[0-9]*.whl"))
            for package in packages
        }


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        pytest.skip("uv, which installs the official plugin, isn't on the PATH")
    return Workshop(uv, tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="session")
def official(workshop: Workshop) -> Iterator[Environment]:
    """The environment that holds the official plugin."""
    try:
        made = workshop.environment(OFFICIAL)
    except RuntimeError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the official plugin can't be installed here: {error}")
    yield made
    made.close()


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """The environment that runs the tests, for the same programs."""
    made = Environment(Path(sys.executable), tmp_path_factory.mktemp("ours"))
    yield made
    made.close()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(transcriber="tones", synthesizer="tones") as running:
        yield running
