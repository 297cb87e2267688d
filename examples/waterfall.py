"""Where the time went, as a picture made of text."""

from __future__ import annotations

from collections.abc import Mapping

_WIDTH = 44


def waterfall(stages: Mapping[str, float]) -> str:
    """Draw stages as bars, each of which begins where the one before it ended.

    Args:
        stages: The end of each, in seconds from the start.
    """
    ordered = sorted(stages.items(), key=lambda stage: stage[1])
    names = max(map(len, stages))
    scale = _WIDTH / max(ordered[-1][1], 0.001)
    lines, at = [], 0
    for name, seconds in ordered:
        until = max(at, round(seconds * scale))
        bar = " " * at + ("█" * (until - at) or "▏")
        lines.append(f"  {name:<{names}}  {bar:<{_WIDTH + 1}} {seconds * 1000:6.0f} ms")
        at = until
    return "\n".join(lines)
