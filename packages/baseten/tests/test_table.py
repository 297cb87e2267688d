from __future__ import annotations

import io
import re

import pytest

from livekit.plugins.baseten.cli.examination import Check
from livekit.plugins.baseten.cli.table import table

URL = "wss://model-abcd1234.api.baseten.co/environments/production/websocket"
CHECKS = [
    Check("STT", "URL", "ok", URL),
    Check("STT", "handshake", "failed", "the key was refused", f"Make one at {URL}.", seconds=1.0),
    Check("STT", "configuration", "skipped", "not tried: an earlier check failed"),
]


class Screen(io.TextIOWrapper):
    def __init__(self, encoding: str = "utf-8", *, terminal: bool = True) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def bare(text: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", text)


@pytest.mark.parametrize("columns", [40, 60, 79, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = bare(table(CHECKS, Screen()))
    assert max(map(len, text.splitlines())) <= min(columns, 120)
    assert "".join(text.split()).count(URL) == 2


def test_a_pipe_gets_no_escape_codes_and_whole_urls() -> None:
    text = table(CHECKS, Screen(terminal=False))
    assert "\x1b" not in text
    assert text.count(URL) == 2


def test_colours_are_left_out_when_they_are_unwanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[31m" in table(CHECKS, Screen())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in table(CHECKS, Screen())


def test_a_terminal_without_the_characters_gets_others() -> None:
    heard = Check("STT", "hearing", "warning", "heard “one”", "It was “two”.")
    table([*CHECKS, heard], Screen("ascii")).encode("ascii")


def test_a_warning_is_not_passed_over() -> None:
    warned = Check("STT", "hearing", "warning", "heard something else")
    assert "look at STT hearing" in table([warned], Screen())
    assert "All well" in table([CHECKS[0]], Screen())
