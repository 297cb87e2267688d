"""The doctor: checks everything between this machine and a spoken answer."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence

from livekit.agents import utils

from ..version import __version__
from . import report
from .audio import read_recording
from .components import Components, Part
from .examination import Check, Examination, Finding
from .language_checks import LanguageChecks
from .progress import Progress
from .reach import STEPS, Reach
from .speech_checks import SpeechChecks
from .table import table

__all__ = ["PARTS", "doctor"]

PARTS: tuple[Part, ...] = ("STT", "TTS", "LLM")


async def doctor(given: argparse.Namespace) -> int:
    """Make all checks and show what they found.

    Returns:
        The exit status: 1 when a check failed.

    Raises:
        OSError: the recording can't be read, or the report written.
        ValueError: the recording holds no audio.
    """
    parts: Sequence[Part] = given.only or PARTS
    recording = None if given.audio is None else await read_recording(given.audio)
    progress = Progress(
        sum(len(STEPS[part]) for part in ("key", *parts)), stream=sys.stderr, quiet=given.quiet
    )
    exam = Examination(progress)
    reach = Reach(Components(given), exam, given.timeout, given.wake)
    speech = SpeechChecks(reach, text=given.text, recording=recording, demanded=given.only or ())
    try:
        async with utils.http_context.open():
            await exam.check(
                "key", "present", lambda: _key(reach), within=given.timeout, timed=False
            )
            await speech.run(parts)
            if "LLM" in parts:
                await LanguageChecks(reach).run()
            _note_accepted(exam)
    except (asyncio.CancelledError, KeyboardInterrupt):
        # Whoever has waited enough wants to see what was found so far. On Python 3.10 Ctrl-C comes
        # as it is when it doesn't find the loop waiting.
        progress.finish()
        if not given.json:
            sys.stdout.write(table(_ordered(exam), sys.stdout, stopped=True))
            sys.stdout.flush()
        raise
    finally:
        progress.finish()
    checks = _ordered(exam)
    if given.json:
        sys.stdout.write(json.dumps(as_json(checks), indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(table(checks, sys.stdout))
    sys.stdout.flush()
    if given.report is not None:
        _write(given.report, report.render(checks, picture=given.report.endswith(".svg")))
    return 1 if any(check.status == "failed" for check in checks) else 0


def _ordered(exam: Examination) -> list[Check]:
    order = ("key", *PARTS)
    return sorted(exam.checks, key=lambda check: order.index(check.part))


async def _key(reach: Reach) -> Finding[None]:
    reach.exam.key = reach.components.key()
    return Finding("BASETEN_API_KEY is set", None)


def _note_accepted(exam: Examination) -> None:
    if exam.accepted_by and exam.refused_by:
        exam.note(
            "key",
            "accepted",
            "warning",
            f"by {_listed(exam.accepted_by)}; refused by {_listed(exam.refused_by)}",
            "They are of different workspaces, or the key doesn't cover them all.",
        )
    elif exam.accepted_by:
        exam.note("key", "accepted", "ok", f"by {_listed(exam.accepted_by)}")
    elif exam.refused_by:
        exam.note("key", "accepted", "failed", f"refused by {_listed(exam.refused_by)}")
    else:
        exam.note("key", "accepted", "skipped", "no server was reached that could tell")


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def as_json(checks: Sequence[Check]) -> dict[str, object]:
    """What was found, for programs."""
    return {
        "ok": not any(check.status == "failed" for check in checks),
        "version": __version__,
        "checks": [check.as_json() for check in checks],
        "turn": {name: round(seconds, 4) for name, seconds in report.turn(checks).items()},
    }


def _write(path: str, text: str) -> None:
    """Write a file that is whole or not there."""
    number, part = tempfile.mkstemp(dir=os.path.dirname(path) or ".", suffix=".part")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)  # mkstemp's own is for the owner alone
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise
