"""Installing the umbrella takes the official plugin's place without a trace, and goes without one."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from .conftest import LIMIT, OFFICIAL, Environment, Workshop

pytestmark = pytest.mark.timeout(300)
COMPONENTS = ("baseten-common", "baseten-stt", "baseten-tts", "baseten-llm")
WHOSE = "from livekit.plugins import {0}; print({0}.STT.__module__)"


def python(environment: Environment, *arguments: str) -> str:
    done = subprocess.run(
        [environment.python, *arguments],
        cwd=environment.scratch,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def whose(environment: Environment, leaf: str) -> str:
    """The module that a leaf's ``STT`` comes from."""
    return python(environment, "-c", WHOSE.format(leaf))


def files(environment: Environment, leaf: str) -> set[str]:
    """What lies in a leaf of the namespace, but for what running it leaves behind."""
    (folder,) = environment.python.parents[1].glob("lib/python*/site-packages/livekit/plugins")
    found = (path for path in (folder / leaf).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)) for path in found if "__pycache__" not in path.parts}


def inside(wheel: Path, leaf: str) -> set[str]:
    """What a wheel puts there."""
    with zipfile.ZipFile(wheel) as archive:
        names = (name.removeprefix("livekit/plugins/") for name in archive.namelist())
        return {name for name in names if name.startswith(f"{leaf}/")}


class Pip:
    """The other installer. What the wheels depend on is there already, so it needs no index."""

    def install(self, into: Environment, *what: str | Path) -> None:
        python(into, *["-m", "pip", "install", "--no-deps", "--no-index"], *map(str, what))

    def uninstall(self, out_of: Environment, name: str) -> None:
        python(out_of, *["-m", "pip", "uninstall", "--yes"], name)


@pytest.fixture(scope="module")
def wheels(workshop: Workshop) -> dict[str, Path]:
    return workshop.build("baseten", *COMPONENTS)


@pytest.fixture(scope="module")
def environment(workshop: Workshop) -> Environment:
    return workshop.environment(OFFICIAL, seed=True)


@pytest.mark.parametrize("name", ["uv", "pip"])
def test_the_umbrella_replaces_the_official_plugin(
    workshop: Workshop, environment: Environment, wheels: dict[str, Path], name: str
) -> None:
    installer = workshop if name == "uv" else Pip()
    workshop.install(environment, OFFICIAL)
    theirs, openai = files(environment, "baseten"), files(environment, "openai")
    assert "baseten/qwen3_stt.py" in theirs

    installer.install(environment, *(wheels[component] for component in COMPONENTS))
    assert files(environment, "baseten") == theirs

    installer.install(environment, wheels["baseten"])
    assert files(environment, "baseten") == inside(wheels["baseten"], "baseten")
    assert whose(environment, "baseten") == "livekit.plugins.baseten_stt.stt"

    installer.uninstall(environment, "livekit-plugins-baseten")
    assert not files(environment, "baseten")
    # The components, and what others have in the same namespace, stay.
    assert whose(environment, "baseten_stt") == "livekit.plugins.baseten_stt.stt"
    for component in COMPONENTS:
        installer.uninstall(environment, f"livekit-plugins-{component}")
        assert not files(environment, component.replace("-", "_"))
    assert files(environment, "openai") == openai
