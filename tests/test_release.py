"""``scripts/release.py`` on a workspace of its own, and through its command line on this one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "release.py"
CHANGELOG = "# Changelog\n\n## Unreleased\n\n- Listens better.\n\n## 0.1.0\n\n- First release.\n"


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["release"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for name, requires in (
        ("baseten-common", ""),
        ("baseten-stt", '"livekit-plugins-baseten-common>=0.1.0,<0.2"'),
        (
            "baseten",
            '"livekit-plugins-baseten-common>=0.1.0,<9", "livekit-plugins-baseten-stt>=0.1.0,<0.3"',
        ),
    ):
        folder = tmp_path / "packages" / name
        source = folder / "src" / "livekit" / "plugins" / name.replace("-", "_")
        source.mkdir(parents=True)
        (source / "version.py").write_text('__all__ = ["__version__"]\n\n__version__ = "0.1.0"\n')
        (folder / "CHANGELOG.md").write_text(CHANGELOG)
        (folder / "pyproject.toml").write_text(f"[project]\ndependencies = [{requires}]\n")
    return tmp_path


def contents(workspace: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in workspace.rglob("*") if path.is_file()}


def test_a_bump_writes_version_and_changelog(release: ModuleType, workspace: Path) -> None:
    before = contents(workspace)
    tag = release.bump("baseten-stt", "minor", date="2026-11-23", root=workspace)
    assert tag == "baseten-stt-v0.2.0"
    changed = {
        path.relative_to(workspace / "packages" / "baseten-stt").as_posix(): text
        for path, text in contents(workspace).items()
        if before[path] != text
    }
    assert changed == {
        "src/livekit/plugins/baseten_stt/version.py": (
            '__all__ = ["__version__"]\n\n__version__ = "0.2.0"\n'
        ),
        "CHANGELOG.md": CHANGELOG.replace(
            "## Unreleased\n", "## Unreleased\n\n## 0.2.0 (2026-11-23)\n"
        ),
    }
    assert release.check(tag, root=workspace).name == "baseten-stt"


@pytest.mark.parametrize(
    ("version", "by", "expected"),
    [
        ("0.1.0", "patch", "0.1.1"),
        ("0.1.3", "minor", "0.2.0"),
        ("0.9.3", "major", "1.0.0"),
        ("1.0.0rc1", "major", "1.0.0"),
        ("1.2.0rc1", "minor", "1.2.0"),
        ("1.2.1rc1", "patch", "1.2.1"),
        ("1.2.1rc1", "minor", "1.3.0"),
        ("0.1.0", "0.2.0b1", "0.2.0b1"),
    ],
)
def test_which_version_comes_next(
    release: ModuleType, version: str, by: str, expected: str
) -> None:
    assert str(release.raised(release.Version(version), by)) == expected


@pytest.mark.parametrize(
    ("package", "by", "reason"),
    [
        ("baseten-common", "minor", r"baseten-stt/pyproject.toml asks for .*common<0.2,>=0.1.0"),
        ("baseten-stt", "0.3.0", "packages/baseten/pyproject.toml asks for"),
        ("baseten-stt", "0.1.0", "doesn't come after 0.1.0"),
        ("baseten-stt", "huge", "neither a version nor one of major, minor, patch"),
        ("baseten-ear", "minor", "there are baseten, baseten-common, baseten-stt"),
    ],
)
def test_what_is_refused_changes_nothing(
    release: ModuleType, workspace: Path, package: str, by: str, reason: str
) -> None:
    before = contents(workspace)
    with pytest.raises(release.Refused, match=reason):
        release.bump(package, by, date="2026-11-23", root=workspace)
    assert contents(workspace) == before


@pytest.mark.parametrize("unreleased", ["", "## Unreleased\n\n"])
def test_a_release_without_news_is_refused(
    release: ModuleType, workspace: Path, unreleased: str
) -> None:
    changelog = workspace / "packages" / "baseten-stt" / "CHANGELOG.md"
    changelog.write_text(f"# Changelog\n\n{unreleased}## 0.1.0\n\n- First release.\n")
    before = contents(workspace)
    with pytest.raises(release.Refused, match="say there what has changed"):
        release.bump("baseten-stt", "patch", date="2026-11-23", root=workspace)
    assert contents(workspace) == before


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("v0.1.0", "isn't a tag of a release"),
        ("baseten-stt-v0.2.0", "the tag says 0.2.0, version.py says 0.1.0"),
        ("baseten-ear-v0.1.0", "there is no package 'baseten-ear'"),
    ],
)
def test_a_tag_that_fits_nothing_is_refused(
    release: ModuleType, workspace: Path, tag: str, reason: str
) -> None:
    with pytest.raises(release.Refused, match=reason):
        release.check(tag, root=workspace)


def test_a_tag_without_its_section_is_refused(release: ModuleType, workspace: Path) -> None:
    changelog = workspace / "packages" / "baseten-stt" / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## Unreleased\n")
    with pytest.raises(release.Refused, match=r"has no section for 0\.1\.0"):
        release.check("baseten-stt-v0.1.0", root=workspace)


def test_every_package_of_this_workspace_can_be_released(release: ModuleType) -> None:
    for folder in sorted((ROOT / "packages").iterdir()):
        version = release.Package.find(folder.name, ROOT).version
        done = subprocess.run(
            [sys.executable, SCRIPT, "check", f"{folder.name}-v{version}"],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout.strip()) == (0, folder.name), done.stderr


def test_the_command_says_in_a_line_what_is_wrong() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "bump", "baseten-ear", "minor"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("there is no package 'baseten-ear'")
    assert len(done.stderr.splitlines()) == 1
