"""Bar charts as SVG, without any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Group", "Panel", "draw"]

_COLOURS = {"ours": "#2563c9", "peer": "#d9822b", "bare": "#8a8f98"}
_OTHERS = ("#5b9a68", "#8d6cab", "#b0574f")
_LEFT, _PLOT, _RIGHT = 210, 470, 110
_BAR, _GAP = 15, 4
_HALO = 'paint-order="stroke" stroke="#fff" stroke-width="4"'


@dataclass(frozen=True)
class Group:
    """Bars side by side.

    Attributes:
        name: What is above them.
        bars: Values by client.
        target: Where the target's line is drawn, if there is one.
        text: What is written at that line.
    """

    name: str
    bars: Mapping[str, float]
    target: float | None = None
    text: str = ""


@dataclass(frozen=True)
class Panel:
    """Groups with a scale in common.

    Attributes:
        title: What is measured.
        unit: In which unit.
        groups: The groups.
        digits: Digits after the point.
    """

    title: str
    unit: str
    groups: Sequence[Group]
    digits: int = 2


def _text(x: float, y: float, text: str, *, size: int = 12, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" {more}>{escape(text)}</text>'


def _panel(panel: Panel, top: float, colours: Mapping[str, str]) -> tuple[list[str], float]:
    highest = max(
        (v for g in panel.groups for v in (*g.bars.values(), g.target or 0.0)), default=0.0
    )
    scale = _PLOT / (highest or 1.0)
    y = top + 18
    parts = [_text(12, y, f"{panel.title}, {panel.unit}", size=14, more='font-weight="600"')]
    y += 14
    for group in panel.groups:
        begin = y
        labels = []  # above the target's line, with a halo
        for number, (client, value) in enumerate(group.bars.items()):
            if number == 0:
                parts.append(_text(12, y + _BAR - 3, group.name))
            colour = colours[client]
            width = max(1.0, value * scale)
            parts.append(
                f'<rect x="{_LEFT}" y="{y:.1f}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>'
            )
            label = f"{value:,.{panel.digits}f}"
            labels.append(_text(_LEFT + width + 5, y + _BAR - 3, label, more=_HALO))
            parts.append(
                _text(
                    _LEFT - 6, y + _BAR - 3, client, size=11, more='text-anchor="end" fill="#555"'
                )
            )
            y += _BAR + _GAP
        if group.target is not None:
            x = _LEFT + group.target * scale
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{begin - 3:.1f}" y2="{y:.1f}" '
                'stroke="#b3261e" stroke-width="2" stroke-dasharray="4 3"/>'
            )
            anchor = "end" if group.target > 0.7 * highest else "start"
            y += 8
            more = f'text-anchor="{anchor}" fill="#b3261e"'
            parts.append(_text(x, y, f"target: {group.text}", size=10, more=more))
            y += 4
        parts += labels
        y += 10
    return parts, y + 6


def draw(title: str, panels: Sequence[Panel], *, note: str = "") -> str:
    """A picture with one panel below the other.

    Args:
        title: What is above all.
        panels: The panels.
        note: What is below all.

    Returns:
        The SVG document.
    """
    clients = dict.fromkeys(c for p in panels for g in p.groups for c in g.bars)
    others = iter(_OTHERS * len(clients))
    colours = {client: _COLOURS.get(client) or next(others) for client in clients}
    parts = [_text(12, 26, title, size=17, more='font-weight="700"')]
    y = 40.0
    for panel in panels:
        drawn, y = _panel(panel, y, colours)
        parts += drawn
    if note:
        parts.append(_text(12, y + 6, note, size=11, more='fill="#555"'))
    width, height = _LEFT + _PLOT + _RIGHT, round(y + 22)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            '<rect width="100%" height="100%" fill="#fff"/>',
            *parts,
            "</svg>\n",
        ]
    )
