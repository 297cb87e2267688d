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
_NARROWEST, _WIDEST = 60, 120


def table(checks: Sequence[Check], stream: TextIO, *, stopped: bool = False) -> str:
    """Lay the checks out, and what they come to.

    Args:
        checks: In the order of the table.
        stream: Where it will be written, which decides on colours, characters and width.
        stopped: Some checks weren't made, so that no summary can be given.
    """
    marks = _MARKS if can_show(stream, "✓✗·→“”") else _PLAIN
    colours = stream.isatty() and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size((100, 24)).columns if stream.isatty() else 100
    width = min(max(width, _NARROWEST), _WIDEST)
    lines = []
    last = ""
    for check in checks:
        time = "" if check.seconds is None else milliseconds(check.seconds)
        mark = f"{marks[check.status]:<2}"
        if colours:
            mark = f"\x1b[{_COLOURS[check.status]}m{mark}\x1b[0m"
        head = f" {check.part if check.part != last else '':<4} {check.name:<14}{time:>9}  "
        last = check.part
        indent = " " * (2 + len(head))
        lines.append(mark + head + _wrap(check.detail, indent, width))
        if check.mend and check.status != "ok":
            arrow = "→ " if marks is _MARKS else "> "
            lines.append(indent + arrow + _wrap(check.mend, indent + "  ", width))
    summary = "Stopped." if stopped else _summary(checks)
    summary = "\n".join(textwrap.wrap(summary, width, break_on_hyphens=False))
    text = "\n".join(lines) + "\n\n" + summary + "\n"
    return text if marks is _MARKS else text.replace("“", '"').replace("”", '"')


def _wrap(text: str, indent: str, width: int) -> str:
    lines = textwrap.wrap(
        text, max(width - len(indent), 30), break_long_words=False, break_on_hyphens=False
    )
    return f"\n{indent}".join(lines)


def _summary(checks: Sequence[Check]) -> str:
    failed = [f"{check.part} {check.name}" for check in checks if check.status == "failed"]
    if failed:
        return f"{len(failed)} failed: {', '.join(failed)}."
    stages = report.turn(checks)
    if len(stages) == len(report.STAGES):
        parts = ", ".join(f"{name} {milliseconds(seconds)}" for name, seconds in stages.items())
        return (
            f"All well. A turn answers after about {milliseconds(sum(stages.values()))}: {parts}."
        )
    return "All well, as far as it is set up."
