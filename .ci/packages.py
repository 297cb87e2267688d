"""Builds every package, checks what was built, and tries each one alone.

Alone means: in a fresh environment, its wheel with what the wheel asks for, imported; then its own
tests, out of the sdist, against that installed wheel. That is done with the newest versions on the
Python that runs this; what is quick of it also with the oldest, and on each other Python that is
installed. matrix.py does all of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from metadata import faults
from pythons import PYTHONS, find

ROOT = Path(__file__).parent.parent
LEAVES = ("sandbox", "tts", "stt", "llm", "common", "")  # the longest tests first
TWINE = "twine>=7,<8"  # the first that knows metadata 2.5
# What is also tried with the oldest versions and on other Pythons, and whether with its tests: those
# of the components take a minute each, and the umbrella imports them all.
QUICK = {"common": True, "": False}
LIMIT = 600  # seconds that a command may take

# What a component must not pull in: users install one component to have only that.
IMPORT = """
import importlib, sys
leaf, *absent = sys.argv[1:]
try:
    import livekit.agents  # which loads openai itself
except ImportError:
    assert leaf == "baseten_sandbox"
before = set(sys.modules)
module = importlib.import_module("livekit.plugins." + leaf)
missing = [name for name in module.__all__ if not hasattr(module, name)]
assert not missing, missing
new = set(sys.modules) - before
loaded = [name for name in new if (name + ".").startswith(tuple(absent))]
assert not loaded, f"{leaf} loads {loaded}"
print(module.__version__)
"""


class Failure(Exception):
    """A command failed; the text is what it printed."""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command; what it prints."""
    strange = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PYTEST_ADDOPTS")
    environ = {name: value for name, value in os.environ.items() if name not in strange}
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired as late:
        raise Failure(str(late)) from None
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


@dataclass(frozen=True)
class Built:
    """The distributions of a package."""

    leaf: str
    wheel: Path
    sdist: Path

    @property
    def module(self) -> str:
        return f"baseten_{self.leaf}" if self.leaf else "baseten"


@contextmanager
def built() -> Iterator[list[Built]]:
    """All packages, built as they are published, until the context ends."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        # Without the workspace's sources, so that an undeclared dependency can't hide. The wheel
        # is built from the sdist.
        run("uv", "build", "--quiet", "--all-packages", "--no-sources", "--out-dir", folder)
        packages = []
        for leaf in LEAVES:
            stem = f"livekit_plugins_baseten{'_' * bool(leaf)}{leaf}-"
            (wheel,) = folder.glob(f"{stem}[0-9]*.whl")
            (sdist,) = folder.glob(f"{stem}[0-9]*.tar.gz")
            packages.append(Built(leaf, wheel, sdist))
        yield packages


def lowest(package: Built) -> list[str | Path]:
    """What has uv choose the oldest versions that a package admits."""
    # What a wheel asks for isn't direct to uv; what a project file asks for is.
    project = ROOT / "packages" / package.module.replace("_", "-") / "pyproject.toml"
    return ["--resolution", "lowest-direct", "-r", project]


def try_alone(
    package: Built,
    *,
    python: Path = Path(sys.executable),
    tested: bool = True,
    versions: Sequence[str | Path] = (),
    override: Sequence[str | Path] = (),
) -> str:
    """Install a package alone, import it, and run its tests against it.

    Args:
        package: What was built.
        python: The interpreter.
        tested: Run its tests; else it is only imported.
        versions: Arguments that say how uv chooses the versions of what the package asks for.
        override: Arguments that put other versions in place of what any package asks for.

    Returns:
        A line about it.

    Raises:
        Failure: it doesn't install, doesn't import, or a test fails.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        venv = scratch / "venv"
        own = venv / "bin" / "python"
        run("uv", "venv", "--quiet", "--python", python, venv)
        install: list[str | Path] = [
            "uv",
            "pip",
            "install",
            "--quiet",
            "--python",
            own,
            "--no-sources",
        ]
        install += ["--find-links", package.wheel.parent, *override]
        run(*install, package.wheel, *versions)
        if not override:
            run("uv", "pip", "check", "--quiet", "--python", own)
        absent = []
        if package.leaf in ("common", "stt", "tts", "sandbox"):
            absent += ["openai.", "livekit.plugins.openai.", "livekit.plugins.baseten_llm."]
        if package.leaf:
            absent += ["livekit.plugins.baseten."]
        version = run(own, "-c", IMPORT, package.module, *absent, cwd=scratch).strip()
        if package.leaf not in ("common", "sandbox"):
            # LiveKit finds the plugins by their namespace.
            found = run(own, "-m", "livekit.agents", "download-files", cwd=scratch)
            if f"downloading files for livekit.plugins.{package.module}" not in found:
                raise Failure(f"{package.module} isn't registered with LiveKit:\n{found}")
        if not tested:
            return f"{package.module} {version}: imported, {time.monotonic() - began:.0f} s"
        run("tar", "-xzf", package.sdist, "-C", scratch)
        (source,) = scratch.glob("livekit_plugins_*")
        # What is installed by now stays, so that the oldest versions are what is tested.
        run(*install, package.wheel, "--group", f"{source / 'pyproject.toml'}:test")
        # What another version deprecates isn't to be mended before it is asked for.
        tested = _tests(own, source, *["-W", "default::DeprecationWarning"] * bool(override))
    seconds = time.monotonic() - began
    return f"{package.module} {version}: {tested}, {seconds:.0f} s"


def _tests(python: Path, source: Path, *options: str) -> str:
    beside = [
        re.split(r"[= ]", line)[0].removeprefix("livekit-plugins-")
        for line in run("uv", "pip", "freeze", "--python", python).splitlines()
        if line.startswith("livekit-plugins-")
    ]
    # Real models, browsers and servers are for the run in the workspace: they take long.
    command: list[str | Path] = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-c", ROOT / "pyproject.toml", "--rootdir", source]
    command += ["-m", "not models and not browser and not truss", source / "tests", *options]
    printed = run(*command, cwd=source)
    return f"{printed.strip().splitlines()[-1].strip('= ')} with {', '.join(sorted(beside))}"


def told(name: str, job: Future[str]) -> bool:
    """Print what came of a try, once it is there; whether it succeeded."""
    try:
        print(f"{name}: {job.result()}", flush=True)
    except Failure as failure:
        print(f"{name}: FAILED\n{failure}", flush=True)
        return False
    return True


def main() -> None:
    failed = False
    others = {
        version: find(version) for version in PYTHONS if not sys.version.startswith(f"{version}.")
    }
    print(f"Python {sys.version.split()[0]}, with newest versions unless another is named")
    with built() as packages:
        for package in packages:
            for fault in faults(package.wheel, package.sdist):
                print(f"{package.module}: {fault}")
                failed = True
        folder = packages[0].wheel.parent
        run("uvx", "--from", TWINE, "twine", "check", "--strict", *folder.glob("livekit_*"))
        # Tests wait about as long as they work.
        with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
            jobs = [("newest versions", pool.submit(try_alone, package)) for package in packages]
            for package in packages:
                if package.leaf in QUICK:
                    attempt = partial(pool.submit, try_alone, package, tested=QUICK[package.leaf])
                    jobs.append(("oldest versions", attempt(versions=lowest(package))))
                    for version, python in others.items():
                        if python is not None:
                            jobs.append((f"Python {version}", attempt(python=python)))
            for name, job in jobs:
                failed |= not told(name, job)
    for version, python in others.items():
        if python is None:
            print(f"Python {version}: skipped, it isn't installed")
    if failed:
        sys.exit("the packages aren't fit to be published")


if __name__ == "__main__":
    main()
