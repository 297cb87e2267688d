"""Checks, one after the other: what each found, how long it took, and what went wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from livekit.agents import APIError
from livekit.plugins.baseten_common import ApiKey, timeout as deadline

from .advice import Advice, advise
from .progress import Progress

__all__ = ["Check", "Examination", "Finding", "Status"]

Status = Literal["ok", "warning", "failed", "skipped"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Check:
    """What came of a check.

    Attributes:
        part: What was checked: ``key``, ``STT``, ``TTS`` or ``LLM``.
        name: Which property of it.
        status: How it came out.
        detail: What was found, or what went wrong.
        mend: What to do about it; blank when there is nothing to do.
        start: Seconds from the start of the examination.
        seconds: How long it took; None if it took no time worth telling.
        marks: Seconds from the check's start at which something of note came.
    """

    part: str
    name: str
    status: Status
    detail: str
    mend: str = ""
    start: float = 0.0
    seconds: float | None = None
    marks: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON, with times in seconds."""
        return {
            "part": self.part,
            "check": self.name,
            "status": self.status,
            "detail": self.detail,
            "mend": self.mend,
            "start": round(self.start, 4),
            "seconds": None if self.seconds is None else round(self.seconds, 4),
            "marks": {name: round(at, 4) for name, at in self.marks.items()},
        }


@dataclass(frozen=True)
class Finding(Generic[_T]):
    """What a check that got through has found.

    Attributes:
        detail: In words.
        value: What later checks build on.
        status: ``ok``, or ``warning`` or ``skipped`` where it came out so.
        mend: What to do about a warning.
        seconds: How long the point of the check took, if that isn't all of it.
        marks: See :class:`Check`.
    """

    detail: str
    value: _T
    status: Status = "ok"
    mend: str = ""
    seconds: float | None = None
    marks: Mapping[str, float] = field(default_factory=dict)


class Examination:
    """Runs checks and keeps what came of them.

    Attributes:
        checks: What came of them, in the order in which they were made.
        progress: Where what is being done is shown.
    """

    def __init__(self, progress: Progress) -> None:
        """Start the clock."""
        self.checks: list[Check] = []
        self.progress = progress
        self.key: ApiKey | None = None
        self.refused_by: list[str] = []
        self.accepted_by: list[str] = []
        self._began = time.perf_counter()

    async def check(
        self,
        part: str,
        name: str,
        work: Callable[[], Awaitable[Finding[_T]]],
        *,
        within: float,
        timed: bool = True,
    ) -> _T | None:
        """Make a check.

        Args:
            part: See :class:`Check`.
            name: See :class:`Check`.
            work: Does it.
            within: Seconds that it may take at most.
            timed: Whether its time tells anything.

        Returns:
            What it found to build on; None when it failed.
        """
        self.progress.step(f"{part}: {name}")
        start = time.perf_counter()
        error: Exception
        try:
            async with deadline(within):
                finding = await work()
        except asyncio.TimeoutError:
            # Each wait has a shorter bound, so this is an answer that trickles in.
            error = APIError(f"not done within {within:g} s")
        except Exception as e:
            error = e
        else:
            took = time.perf_counter() - start
            if finding.seconds is not None:
                took = finding.seconds
            self._keep(
                Check(
                    part,
                    name,
                    finding.status,
                    finding.detail,
                    finding.mend,
                    start - self._began,
                    took if timed else None,
                    finding.marks,
                )
            )
            return finding.value
        took = time.perf_counter() - start
        advice: Advice = advise(error, part=part)
        if advice.key_refused and part not in self.refused_by:
            self.refused_by.append(part)
        self._keep(
            Check(
                part,
                name,
                "failed",
                advice.meaning,
                advice.mend,
                start - self._began,
                took if timed else None,
            )
        )
        return None

    def note(
        self, part: str, name: str, status: Status, detail: str, mend: str = "", *, steps: int = 1
    ) -> None:
        """Note a check that needed no work.

        Args:
            part: See :class:`Check`.
            name: See :class:`Check`.
            status: See :class:`Check`.
            detail: See :class:`Check`.
            mend: See :class:`Check`.
            steps: How many steps of the plan it stands for.
        """
        start = time.perf_counter() - self._began
        self._keep(Check(part, name, status, detail, mend, start), steps=steps)

    def accepted(self, part: str) -> None:
        """Note that a part has taken the key."""
        if part not in self.accepted_by:
            self.accepted_by.append(part)

    def _keep(self, check: Check, *, steps: int = 1) -> None:
        if self.key is not None:
            # A server's words may hold it.
            redact = self.key.redact
            check = replace(check, detail=redact(check.detail), mend=redact(check.mend))
        self.checks.append(check)
        self.progress.done(check.part, check.name, check.status, steps=steps)
