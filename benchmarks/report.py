"""What a benchmark found: figures by scene and client, targets, and three ways to show them."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from picture import Group, Panel, draw

__all__ = ["Figure", "Measure", "Report", "Target", "machine", "percentile"]


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many percent of the others are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def machine() -> dict[str, Any]:
    """What figures depend on: the machine, and the versions."""
    return {
        "cpus": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "livekit-agents": version("livekit-agents"),
    }


@dataclass(frozen=True)
class Measure:
    """Something that is measured.

    Attributes:
        title: What it is.
        unit: In which unit.
        digits: Digits after the point that mean anything.
        drawn: Whether the picture shows it.
    """

    title: str
    unit: str
    digits: int = 2
    drawn: bool = True


@dataclass(frozen=True)
class Figure:
    """The median of some values, and how far they spread."""

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Target:
    """What ours should stay under.

    Attributes:
        scene: Where.
        measure: Of what.
        text: The target in words.
        limit: The most that it may be, in the measure's unit.
        figure: What it is.
    """

    scene: str
    measure: str
    text: str
    limit: float
    figure: float

    @property
    def met(self) -> bool:
        """Whether it does."""
        return self.figure <= self.limit


class Report:
    """The figures of one benchmark.

    Args:
        name: The benchmark's.
        title: What it is about, in a line.
        measures: By name.
        notes: Conditions that the reader has to know.
    """

    def __init__(
        self, name: str, title: str, measures: dict[str, Measure], *, notes: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.title = title
        self.measures = measures
        self.notes = list(notes)
        self.targets: list[Target] = []
        self._values: dict[str, dict[str, dict[str, list[float]]]] = {}

    def add(self, scene: str, client: str, **values: float | Sequence[float]) -> None:
        """Add what was measured, one value or several, by measure."""
        measured = self._values.setdefault(scene, {}).setdefault(client, {})
        for measure, value in values.items():
            more = [value] if isinstance(value, (int, float)) else value
            measured.setdefault(measure, []).extend(more)

    def values(self, scene: str, client: str, measure: str) -> list[float]:
        """All that was measured; empty if nothing was."""
        return self._values.get(scene, {}).get(client, {}).get(measure, [])

    def figure(self, scene: str, client: str, measure: str) -> Figure | None:
        """Median and spread."""
        values = self.values(scene, client, measure)
        if not values:
            return None
        return Figure(statistics.median(values), min(values), max(values), len(values))

    def ratio(
        self, scene: str, measure: str, client: str = "ours", of: str = "bare"
    ) -> float | None:
        """How many times as much as another client: the median over rounds, where there are any."""
        ours, theirs = self.values(scene, client, measure), self.values(scene, of, measure)
        if not ours or not theirs:
            return None
        if len(ours) == len(theirs) <= 30 and all(theirs):
            return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        other = statistics.median(theirs)
        return statistics.median(ours) / other if other else None

    def aim(
        self, scene: str, measure: str, text: str, *, at_most: float, figure: float | None = None
    ) -> None:
        """Set a target for the median, or for another figure, of ours."""
        found = self.figure(scene, "ours", measure)
        if figure is None and found is not None:
            figure = found.median
        if figure is not None:
            self.targets.append(Target(scene, measure, text, at_most, figure))

    def aim_below(
        self, scene: str, measure: str, text: str, *, times: float = 1.0, plus: float = 0.0,
        of: str = "bare",
    ) -> None:  # fmt: skip
        """Set a target in proportion to another client in the same run; none if that wasn't there."""
        other, ratio = self.figure(scene, of, measure), self.ratio(scene, measure, of=of)
        if other is None or ratio is None:
            return
        limit = times * other.median + plus
        # The pairing of rounds tells more than the two medians.
        self.aim(scene, measure, text, at_most=limit, figure=None if plus else ratio * other.median)

    def data(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "benchmark": self.name,
            "title": self.title,
            "date": datetime.date.today().isoformat(),
            "machine": {**machine(), "load": os.getloadavg()[0]},
            "notes": self.notes,
            "measures": {name: asdict(measure) for name, measure in self.measures.items()},
            "scenes": {
                scene: {
                    client: {
                        name: {
                            **asdict(self._figure(scene, client, name)),
                            "ratio_to_bare": self.ratio(scene, name, client),
                        }
                        for name in measured
                    }
                    for client, measured in clients.items()
                }
                for scene, clients in self._values.items()
            },
            "targets": [{**asdict(target), "met": target.met} for target in self.targets],
        }

    def _figure(self, scene: str, client: str, measure: str) -> Figure:
        figure = self.figure(scene, client, measure)
        assert figure is not None
        return figure

    def table(self) -> str:
        """All of it, for people."""
        lines = [self.title, ""]
        for name, measure in self.measures.items():
            lines.append(f"{measure.title}, {measure.unit}")
            lines.append(
                f"  {'':34}{'':16}{'median':>10}{'lowest':>10}{'highest':>10}{'x bare':>8}"
            )
            for scene, clients in self._values.items():
                for client in clients:
                    figure = self.figure(scene, client, name)
                    if figure is None:
                        continue
                    shown = "".join(
                        f"{value:10,.{measure.digits}f}"
                        for value in (figure.median, figure.low, figure.high)
                    )
                    ratio = self.ratio(scene, name, client)
                    times = f"{ratio:8.2f}" if ratio is not None else ""
                    lines.append(f"  {scene:34}{client:16}{shown}{times}")
            lines.append("")
        for target in self.targets:
            measure = self.measures[target.measure]
            lines.append(
                f"{'met' if target.met else 'MISSED':7}{target.scene}: {measure.title} "
                f"{target.figure:,.{measure.digits}f}, target {target.limit:,.{measure.digits}f} "
                f"{measure.unit} ({target.text})"
            )
        return "\n".join(lines + [f"note: {note}" for note in self.notes])

    def picture(self) -> str:
        """Medians and targets as an SVG document."""
        panels = []
        for name, measure in self.measures.items():
            groups = []
            for scene, clients in self._values.items():
                bars = {
                    client: self._figure(scene, client, name).median
                    for client, measured in clients.items()
                    if measured.get(name)
                }
                aims = [t for t in self.targets if (t.scene, t.measure) == (scene, name)]
                if bars:
                    first = aims[0] if aims else None
                    limit, text = (first.limit, first.text) if first else (None, "")
                    groups.append(Group(scene, bars, limit, text))
            if groups and measure.drawn:
                panels.append(Panel(measure.title, measure.unit, groups, measure.digits))
        return draw(self.title, panels, note="median of each client, all in the same run")

    def deliver(self, *, json_file: str | None, svg_file: str | None) -> None:
        """Print the table; write the rest where it is wanted."""
        print(self.table())
        if json_file:
            Path(json_file).write_text(json.dumps(self.data(), indent=2) + "\n", encoding="utf-8")
        if svg_file:
            Path(svg_file).write_text(self.picture(), encoding="utf-8")
