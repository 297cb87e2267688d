"""Prepares the release of one package; every package has a version of its own.

    python scripts/release.py bump baseten-stt minor     # patch, minor, major, or a version
    python scripts/release.py check baseten-stt-v0.2.0   # what the release workflow asks of a tag

``bump`` writes ``version.py`` and turns the changelog's "Unreleased" section into one of the new
version, but only if every package that depends on this one still admits it.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parent.parent
PARTS = ("major", "minor", "patch")
UNRELEASED = "## Unreleased"


class Refused(Exception):
    """The release can't be made; the text says what to mend."""


@dataclass(frozen=True)
class Package:
    """A package of the workspace, by the name of its folder."""

    name: str
    folder: Path

    @classmethod
    def find(cls, name: str, root: Path) -> Package:
        folder = root / "packages" / name
        if not (folder / "pyproject.toml").is_file():
            known = ", ".join(sorted(path.parent.name for path in root.glob("packages/*/*.toml")))
            raise Refused(f"there is no package {name!r}; there are {known}")
        return cls(name, folder)

    @property
    def distribution(self) -> str:
        return f"livekit-plugins-{self.name}"

    @property
    def changelog(self) -> Path:
        return self.folder / "CHANGELOG.md"

    @property
    def version_file(self) -> Path:
        leaf = self.name.replace("-", "_")
        return self.folder / "src" / "livekit" / "plugins" / leaf / "version.py"

    @property
    def version(self) -> Version:
        found = re.search(r'^__version__ = "(.+)"$', self.version_file.read_text(), re.M)
        if found is None:
            raise Refused(f'{self.version_file} has no line __version__ = "…"')
        return Version(found[1])

    def requirements(self) -> Iterator[Requirement]:
        """What it asks for of this workspace, extras and test groups included."""
        text = re.sub(r"(?m)#.*$", "", (self.folder / "pyproject.toml").read_text())
        for quoted in re.findall(r"""["'](livekit-plugins-baseten[^"']*)["']""", text):
            if any(sign in quoted for sign in "<>=!~"):
                yield Requirement(quoted)


def raised(version: Version, by: str) -> Version:
    """The version that comes next: by a part, or the one that is named."""
    if by not in PARTS:
        try:
            new = Version(by)
        except InvalidVersion:
            raise Refused(f"{by!r} is neither a version nor one of {', '.join(PARTS)}") from None
        if new <= version:
            raise Refused(f"{new} doesn't come after {version}")
        return new
    place = PARTS.index(by)
    numbers = list((*version.release, 0, 0)[:3])
    # The release that a pre-release leads up to comes after it.
    if not version.is_prerelease or any(numbers[place + 1 :]):
        numbers[place] += 1
    numbers[place + 1 :] = [0] * (2 - place)
    return Version(".".join(map(str, numbers)))


def check_dependants(package: Package, new: Version, root: Path) -> None:
    """Refuse a version that another package's range leaves out."""
    behind = [
        f"{path.parent.relative_to(root)}/pyproject.toml asks for {requirement}"
        for path in sorted(root.glob("packages/*/pyproject.toml"))
        for requirement in Package(path.parent.name, path.parent).requirements()
        if requirement.name == package.distribution
        and not requirement.specifier.contains(new, prereleases=True)
    ]
    if behind:
        raise Refused("\n".join([f"{package.distribution} {new} would be left out:", *behind]))


def rolled(changelog: str, new: Version, date: str) -> str:
    """The changelog with what was unreleased under the new version, and room for what comes."""
    if not re.search(rf"^{UNRELEASED}$", changelog, re.M):
        raise Refused(f"the changelog has no section {UNRELEASED!r}: say there what has changed")
    before, section = re.split(rf"^{UNRELEASED}\n", changelog, maxsplit=1, flags=re.M)
    if not re.split(r"^## ", section, maxsplit=1, flags=re.M)[0].strip():
        raise Refused(f"nothing stands under {UNRELEASED!r}: say there what has changed")
    return f"{before}{UNRELEASED}\n\n## {new} ({date})\n{section}"


def bump(name: str, by: str, *, date: str, root: Path = ROOT) -> str:
    """Raise a package's version; the tag that publishes it.

    Raises:
        Refused: it can't be released so; nothing is written then.
    """
    package = Package.find(name, root)
    old, new = package.version, raised(package.version, by)
    check_dependants(package, new, root)
    changelog = rolled(package.changelog.read_text(), new, date)
    source = package.version_file.read_text()
    package.version_file.write_text(source.replace(f'"{old}"', f'"{new}"'))
    package.changelog.write_text(changelog)
    return f"{name}-v{new}"


def check(tag: str, *, root: Path = ROOT) -> Package:
    """The package that a tag releases.

    Raises:
        Refused: the tag doesn't fit the sources that it is on.
    """
    match = re.fullmatch(r"(?P<name>[a-z-]+)-v(?P<version>\d.*)", tag)
    if match is None:
        raise Refused(f"{tag!r} isn't a tag of a release: those are <package>-v<version>")
    package = Package.find(match["name"], root)
    if str(package.version) != match["version"]:
        raise Refused(f"the tag says {match['version']}, version.py says {package.version}")
    if not re.search(rf"^## {re.escape(match['version'])}\b", package.changelog.read_text(), re.M):
        raise Refused(f"{package.changelog} has no section for {match['version']}")
    check_dependants(package, package.version, root)
    return package


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare the release of one package.")
    commands = parser.add_subparsers(dest="command", required=True)
    bumping = commands.add_parser("bump", help="raise a package's version")
    bumping.add_argument("package", help="its folder, such as baseten-stt")
    bumping.add_argument("by", help="patch, minor, major, or a version")
    bumping.add_argument("--date", default=datetime.date.today().isoformat())
    checking = commands.add_parser("check", help="whether a tag fits the sources")
    checking.add_argument("tag", help="such as baseten-stt-v0.2.0")
    asked = parser.parse_args()
    try:
        if asked.command == "check":
            print(check(asked.tag).name)
        else:
            tag = bump(asked.package, asked.by, date=asked.date)
            print(f"Commit this, then:\n  git tag {tag}\n  git push origin {tag}")
    except Refused as refusal:
        sys.exit(str(refusal))


if __name__ == "__main__":
    main()
