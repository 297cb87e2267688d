"""Each floor in the published packages has its reason written down, and is what is written."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

if sys.version_info < (3, 11):
    pytest.skip("tomllib is needed", allow_module_level=True)

import tomllib

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PUBLISHED = ["baseten", "baseten-common", "baseten-stt", "baseten-tts", "baseten-llm"]


def floors() -> set[tuple[str, str]]:
    found = set()
    for package in PUBLISHED:
        text = (ROOT / "packages" / package / "pyproject.toml").read_text()
        for requirement in tomllib.loads(text)["project"]["dependencies"]:
            name, floor = re.match(r"([a-z0-9-]+)>=([0-9.]+)", requirement).groups()
            if not name.startswith("livekit-plugins-baseten"):
                found.add((name, floor))
    return found


def test_the_table_of_floors_is_whole_and_true() -> None:
    rows = re.findall(
        r"^\| `([a-z0-9-]+)`[^|]*\| ([0-9.]+) \| (.+) \|$", (HERE / "floors.md").read_text(), re.M
    )
    assert {(name, floor) for name, floor, _ in rows} == floors()


def test_each_dependency_has_a_cap_at_a_major() -> None:
    for package in PUBLISHED:
        text = (ROOT / "packages" / package / "pyproject.toml").read_text()
        for requirement in tomllib.loads(text)["project"]["dependencies"]:
            assert re.search(r",<\d+(\.\d+)?(;|$| )", requirement), requirement
