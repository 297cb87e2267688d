"""What the doctor found, as a table for reading."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Sequence
from typing import TextIO

from . import report
from .examination import Check
from .progress import can_show
from .reach import milliseconds

__all__ = ["table"]

_MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "·"}
_PLAIN = {"ok": "ok", "warning": "!", "failed": "X", "skipped": "-"}
_COLOURS = {"ok": 32, "warning": 33, "failed": 31, "skipped": 90}
_NARROWEST, _ROOMY, _WIDEST = 40, 80, 120


def table(checks: Sequence[Check], stream: TextIO, *, stopped: bool = False) -> str:
    """Lay the checks out, and what they come to.

    Args:
        checks: In the order of the table.
        stream: Where it will be written, which decides on colours, characters and width.
        stopped: Some checks weren't made, so that no summary can be given.
    """
    marks = _MARKS if can_show(stream, "✓✗·→“”") else _PLAIN
    terminal = stream.isatty()
    colours = terminal and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size((100, 24)).columns if terminal else 100
    width = min(max(width, _NARROWEST), _WIDEST)

    def wrap(text: str, indent: str) -> str:
        # A program that reads it wants a URL in one piece.
        room = width - len(indent)
        words = textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=terminal)
        return f"\n{indent}".join(words)

    lines = []
    last = ""
    for check in checks:
        time = "" if check.seconds is None else milliseconds(check.seconds)
        mark = f"{marks[check.status]:<2}"
        if colours:
            mark = f"\x1b[{_COLOURS[check.status]}m{mark}\x1b[0m"
        head = f" {check.part if check.part != last else '':<4} {check.name:<14}{time:>9}  "
        last = check.part
        if width < _ROOMY:
            # Beside the rest there would be room for a word or two.
            indent = " " * 5
            lines.append((mark + head).rstrip())
            lines.append(indent + wrap(check.detail, indent))
        else:
            indent = " " * (2 + len(head))
            lines.append(mark + head + wrap(check.detail, indent))
        if check.mend and check.status != "ok":
            arrow = "→ " if marks is _MARKS else "> "
            lines.append(indent + arrow + wrap(check.mend, indent + "  "))
    summary = "Stopped." if stopped else _summary(checks)
    summary = "\n".join(textwrap.wrap(summary, width, break_on_hyphens=False))
    text = "\n".join(lines) + "\n\n" + summary + "\n"
    return text if marks is _MARKS else text.replace("“", '"').replace("”", '"')


def _summary(checks: Sequence[Check]) -> str:
    failed = [f"{check.part} {check.name}" for check in checks if check.status == "failed"]
    if failed:
        return f"{len(failed)} failed: {', '.join(failed)}."
    warned = [f"{check.part} {check.name}" for check in checks if check.status == "warning"]
    well = f"Nothing failed, but look at {', '.join(warned)}" if warned else "All well"
    stages = report.turn(checks)
    if len(stages) == len(report.STAGES):
        parts = ", ".join(f"{name} {milliseconds(seconds)}" for name, seconds in stages.items())
        return f"{well}. A turn answers after about {milliseconds(sum(stages.values()))}: {parts}."
    return f"{well}, as far as it was checked."
