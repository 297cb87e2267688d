"""The report: where the time went, as a picture, with the table beneath."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from ..version import __version__
from .examination import Check
from .reach import milliseconds

__all__ = ["STAGES", "render", "turn"]

STAGES = {"STT final": "final", "LLM first token": "first token", "TTS first audio": "first audio"}
"""What a turn waits for, one after the other, and the mark of a check that tells how long."""

_WIDTH = 960
_LEFT = 190
_RIGHT = 90
_ROW = 26
_COLOURS = {"ok": "#2f9e6e", "warning": "#c98a1b", "failed": "#d1495b", "skipped": "#98a2b3"}
_STAGE_COLOURS = ("#4c7bd9", "#8a5cc9", "#2f9e6e")
_STYLE = """
text{font:13px system-ui,sans-serif;fill:#1f2933}
.title{font-size:16px;font-weight:600}
.faint{fill:#667085}
.grid{stroke:#d7dce3;stroke-width:1}
.back{fill:#ffffff}
@media(prefers-color-scheme:dark){
text{fill:#e6e9ee}.faint{fill:#9aa4b2}.grid{stroke:#39414d}.back{fill:#14181d}}
"""


def turn(checks: Sequence[Check]) -> dict[str, float]:
    """The stages of a turn that were measured, in seconds, each by itself."""
    marks = {name: at for check in checks for name, at in check.marks.items()}
    return {stage: marks[mark] for stage, mark in STAGES.items() if mark in marks}


def render(checks: Sequence[Check], *, picture: bool) -> str:
    """The report.

    Args:
        checks: What was found, in the order of the table.
        picture: SVG alone; an HTML page otherwise. Neither loads anything.
    """
    svg = _svg(checks)
    if picture:
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{svg}\n'
    rows = "".join(_row(check) for check in checks)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Baseten doctor</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root{{color-scheme:light dark}}
body{{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
background:#fff;color:#1f2933}}
svg{{width:100%;height:auto}}
table{{border-collapse:collapse;width:100%}}
th,td{{text-align:left;vertical-align:top;padding:.4rem .6rem .4rem 0;border-bottom:1px solid #8884}}
td.time{{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}}
td.name,th{{white-space:nowrap}}
td{{overflow-wrap:anywhere}}
.mend{{color:#667085}}
@media(prefers-color-scheme:dark){{body{{background:#14181d;color:#e6e9ee}}.mend{{color:#9aa4b2}}}}
</style></head><body>
<h1>Baseten doctor</h1>
{svg}
<table><thead><tr><th>Check</th><th></th><th>Time</th><th>Found</th></tr></thead>
<tbody>{rows}</tbody></table>
<p class="mend">livekit-plugins-baseten {__version__}</p>
</body></html>
"""


def _row(check: Check) -> str:
    time = "" if check.seconds is None else milliseconds(check.seconds)
    mend = ""
    if check.mend and check.status != "ok":
        mend = f'<div class="mend">→ {html.escape(check.mend)}</div>'
    return (
        f'<tr><td class="name">{check.part} {html.escape(check.name)}</td>'
        f'<td class="name" style="color:{_COLOURS[check.status]}">{check.status}</td>'
        f'<td class="time">{time}</td><td>{html.escape(check.detail)}{mend}</td></tr>\n'
    )


def _svg(checks: Sequence[Check]) -> str:
    timed = sorted((c for c in checks if c.seconds is not None), key=lambda check: check.start)
    parts: list[str] = []
    y = 30
    stages = turn(checks)
    if stages:
        total = sum(stages.values())
        whole = len(stages) == len(STAGES)
        name = "A turn" if whole else "A turn, as far as it was measured"
        parts.append(_text(12, y, f"{name}: about {milliseconds(total)}", "title"))
        y = _bars(parts, y + 14, _stage_bars(stages), total)
        y += 34
    parts.append(_text(12, y, "The checks, one after the other", "title"))
    span = max((c.start + (c.seconds or 0.0) for c in timed), default=0.0)
    y = _bars(parts, y + 14, [_check_bar(check) for check in timed], span)
    height = y + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="Where the time went">'
        f"<style>{_STYLE}</style>"
        f'<rect class="back" width="{_WIDTH}" height="{height}"/>{"".join(parts)}</svg>'
    )


_Bar = tuple[str, float, float, str]


def _stage_bars(stages: Mapping[str, float]) -> list[_Bar]:
    bars, at = [], 0.0
    for (name, seconds), colour in zip(stages.items(), _STAGE_COLOURS, strict=False):
        bars.append((name, at, seconds, colour))
        at += seconds
    return bars


def _check_bar(check: Check) -> _Bar:
    name = f"{check.part} {check.name}"
    return (name, check.start, check.seconds or 0.0, _COLOURS[check.status])


def _bars(parts: list[str], top: int, bars: Sequence[_Bar], span: float) -> int:
    """Draw bars on a common axis; returns where they end."""
    room = _WIDTH - _LEFT - _RIGHT
    scale = room / max(span, 1e-6)
    bottom = top + _ROW * len(bars)
    step = _step(span)
    mark = 0
    while mark * step <= span * 1.0001:
        x = _LEFT + mark * step * scale
        parts.append(f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>')
        label = milliseconds(mark * step) if span < 2 else f"{mark * step:g} s"
        parts.append(_text(x, bottom + 16, label, "faint", anchor="middle"))
        mark += 1
    for number, (name, start, seconds, colour) in enumerate(bars):
        y = top + _ROW * number
        x, width = _LEFT + start * scale, max(seconds * scale, 2.0)
        parts.append(_text(_LEFT - 12, y + 17, name, "", anchor="end"))
        parts.append(
            f'<rect x="{x:.1f}" y="{y + 5}" width="{width:.1f}" height="{_ROW - 10}" rx="3" '
            f'fill="{colour}"/>'
        )
        parts.append(_text(x + width + 6, y + 17, milliseconds(seconds), "faint"))
    return bottom + 20


def _step(span: float) -> float:
    """The distance of grid lines: 1, 2 or 5 of a power of ten, at most eight of them."""
    step = 0.001
    while True:
        for factor in (1, 2, 5):
            if span / (step * factor) <= 8:
                return step * factor
        step *= 10


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">'
        f"{html.escape(text)}</text>"
    )
