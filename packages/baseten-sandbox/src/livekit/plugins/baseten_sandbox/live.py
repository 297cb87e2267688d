"""The sandbox in a terminal: its sessions, what is heard and spoken, and the faults injected."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import sys
import time
import unicodedata
from typing import TYPE_CHECKING, TextIO

from .activity import Activities, Activity, Event, printable
from .deployments import Serves

if TYPE_CHECKING:
    from .sandbox import Sandbox

__all__ = ["LiveView"]

_REFRESH = 0.2
_FEWEST, _MOST = 3, 30
_WIDE = 90  # columns from which on there is room for sizes
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_STYLE = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
_VERBS = {"heard": "cyan", "spoke": "green", "answered": "yellow"}


class LiveView:
    """Shows a sandbox while it serves; an async context manager.

    On a terminal a block of lines is drawn again in place, and log records are printed above it.
    On anything else (a file, a pipe, ``TERM=dumb``) each event is one line, and log records stand
    between them. ``NO_COLOR`` is heeded.

    Args:
        sandbox: What to show.
        stream: Where; standard output when ``None``.
    """

    def __init__(self, sandbox: Sandbox, *, stream: TextIO | None = None) -> None:
        self._sandbox = sandbox
        self._stream = stream or sys.stdout
        self._in_place = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._color = self._in_place and not os.environ.get("NO_COLOR")
        self._activities = Activities(self._serves, self._happened)
        self._began = time.monotonic()
        self._drawn: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._log: _LogAbove | None = None

    async def __aenter__(self) -> LiveView:
        self._sandbox.observe(self._activities)
        self._log = _LogAbove(self)
        logging.getLogger().addHandler(self._log)
        if self._in_place:
            self._write(_HIDE)
        self._task = asyncio.create_task(self._run(), name="baseten-sandbox-live-view")
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._log is not None:
            logging.getLogger().removeHandler(self._log)
        if self._in_place:
            self._draw()
            self._write(_SHOW)

    def _serves(self, deployment: str) -> Serves | None:
        try:
            return self._sandbox.deployment(deployment).serves
        except ValueError:
            return None

    async def _run(self) -> None:
        while True:
            self._activities.look()
            if self._in_place:
                self._draw()
            await asyncio.sleep(_REFRESH)

    # --- one line an event

    def _happened(self, activity: Activity, event: Event, text: str) -> None:
        if self._in_place:
            return
        record = activity.record
        if event == "opened":
            text = f"{record.transport} {record.method} {printable(record.path)}"
        elif event == "closed":
            text = f"{_state(activity)}, {_size(activity.received)} in, {_size(activity.sent)} out"
        name = record.deployment or "model-apis"
        clock = time.strftime("%H:%M:%S")
        self._write(f"{clock} #{record.number} {printable(name)} {event}: {text}\n")

    # --- in place

    def above(self, text: str) -> None:
        """Print lines above the block."""
        plain = _STYLE.sub("", text)
        lines = "".join(f"{printable(line)}\n" for line in plain.splitlines())
        if not self._in_place:
            self._write(lines)
            return
        self._write(self._erase() + lines)
        self._draw()

    def _erase(self) -> str:
        # A terminal made narrower since has wrapped what was drawn.
        columns = max(1, shutil.get_terminal_size().columns)
        rows = sum(max(1, -(-_width(_STYLE.sub("", line)) // columns)) for line in self._drawn)
        self._drawn = []
        return f"\x1b[{rows}A\r\x1b[J" if rows else "\r\x1b[J"

    def _draw(self) -> None:
        columns, rows = shutil.get_terminal_size()
        lines = self._lines(columns - 1, min(max(rows - 6, _FEWEST), _MOST))
        if lines != self._drawn:
            self._write(self._erase() + "".join(f"{line}\n" for line in lines))
            self._drawn = lines

    def _lines(self, width: int, most: int) -> list[str]:
        known = self._activities
        head = f"{known.open} open, {known.count} sessions, {known.faults} faults injected"
        lines = [
            "",
            self._paint(
                _cut(f"{head} · up {_clock(time.monotonic() - self._began)}", width), "bold"
            ),
        ]
        # Open ones stay in sight however many short ones come after them.
        shown = sorted(
            known.latest, key=lambda a: (not a.record.closed, a.record.number), reverse=True
        )[:most]
        lines += [self._line(a, width) for a in sorted(shown, key=lambda a: a.record.number)]
        if not shown:
            lines.append(self._paint(_cut("waiting for the first caller", width), "dim"))
        return lines

    def _line(self, activity: Activity, width: int) -> str:
        record = activity.record
        name = printable(record.deployment or record.route or record.path)
        state = _state(activity)
        left = f"{record.number:>4} {_pad(name, 12)} {_pad(state, 16)}"
        if width >= _WIDE:
            left += f" {_size(activity.received):>7} in {_size(activity.sent):>7} out"
        left = _cut(left + "  ", width)
        more = "" if activity.settled or activity.text.endswith("...") else "…"
        text = f"{verb} “{activity.text}{more}”" if (verb := activity.verb) else ""
        text = _cut(text, width - _width(left))
        style = _VERBS.get(verb, "")
        painted = self._paint(text[: len(verb)], style) + text[len(verb) :]
        return self._paint(left, _tone(activity)) + painted

    def _paint(self, text: str, style: str) -> str:
        code = _STYLES.get(style)
        return f"\x1b[{code}m{text}\x1b[0m" if code and text and self._color else text

    def _write(self, text: str) -> None:
        # A closed pipe mustn't take the sandbox down with it.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


class _LogAbove(logging.Handler):
    """Prints log records above the view, which would otherwise be torn by them."""

    def __init__(self, view: LiveView) -> None:
        super().__init__()
        self._view = view
        self._loop = asyncio.get_running_loop()

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno < logging.WARNING:
            return text
        return f"{record.levelname} {record.name}: {text}"

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._view.above, self.format(record))


def _state(activity: Activity) -> str:
    record = activity.record
    if record.faults:
        return "fault: " + printable(record.faults[-1])
    if not record.closed:
        return "open"
    if record.transport == "websocket" and record.close_code is not None:
        return f"closed {record.close_code}"
    if not record.authorized and record.status in (None, 401):
        return "401 wrong key"
    return "done" if record.status is None else str(record.status)


def _tone(activity: Activity) -> str:
    record = activity.record
    if record.faults or (record.status or 0) >= 400:
        return "red"
    return "dim" if record.closed else ""


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1_000_000:.1f} MB"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _width(text: str) -> int:
    return sum(map(_columns, text))


def _cut(text: str, width: int) -> str:
    """As much of a text as so many columns hold, with its end marked when some is missing."""
    if _width(text) <= width:
        return text
    if width < 1:
        return ""
    kept, used = "", 1
    for char in text:
        used += _columns(char)
        if used > width:
            break
        kept += char
    return kept + "…"


def _pad(text: str, width: int) -> str:
    text = _cut(text, width)
    return text + " " * (width - _width(text))
