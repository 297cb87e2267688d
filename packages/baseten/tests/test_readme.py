"""What the README shows of the command is what it prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from livekit.plugins.baseten.cli import main
from livekit.plugins.baseten.cli.arguments import parser
from livekit.plugins.baseten_sandbox.background import BackgroundSandbox

README = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
PROGRAM = "python -m livekit.plugins.baseten"


def without_numbers(text: str) -> str:
    text = re.sub(r"[\d.]+ (ms|s)\b", r"# \1", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:#", text))
    return " ".join(text.split())


def test_the_doctor_prints_that(
    sandbox: BackgroundSandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = re.search(r"<!-- doctor -->\n```\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    assert main(["doctor", "--llm-model", "openai/gpt-oss-12b"]) == 1
    assert without_numbers(capsys.readouterr().out) == without_numbers(shown[1])


def test_the_commands_are_ones() -> None:
    commands = re.findall(rf"^{re.escape(PROGRAM)} (.*)$", README, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        parser().parse_args(shlex.split(command))
    options = {"--json", "--report", "--only", "--wake", "--llm-model"}
    assert all(f"`{option}" in README for option in options)
