"""Waiting for a deployment that is starting, bounded and in sight."""

from __future__ import annotations

import asyncio
import math
import time

from .log import logger

__all__ = ["ColdStart"]

_REPORT = 5.0  # seconds between lines in the log


class ColdStart:
    """The time that a deployment is given to start, over all tries of one outage.

    Baseten parks a request to a deployment that is scaled to zero until a replica is up, so the
    caller meets silence: https://docs.baseten.co/deployment/autoscaling/request-lifecycle

    Attributes:
        seconds: How long it is waited for; 0 for not at all.
    """

    def __init__(self, what: str, seconds: float, *, since: float | None = None) -> None:
        """Begin to wait.

        Args:
            what: What is being done, as the start of log lines.
            seconds: How long to wait.
            since: When the waiting began, by the monotonic clock; now when None.
        """
        self.seconds = seconds
        self._what = what
        self._since = time.monotonic() if since is None else since
        self._told = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    @property
    def left(self) -> float:
        """Seconds until it was long enough."""
        return max(0.0, self._since + self.seconds - time.monotonic())

    def refused(self) -> None:
        """Note that the deployment says that it is starting."""
        if time.monotonic() - self._told >= _REPORT:
            self._tell("the deployment is starting")

    def parked(self) -> None:
        """Note that a request is out; its answer may take until :meth:`answered`."""
        self.answered()
        self._timer = asyncio.get_running_loop().call_later(_REPORT, self._still_parked)

    def answered(self) -> None:
        """Note that the request was answered, or given up."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _still_parked(self) -> None:
        self._tell("no answer yet, as when the deployment is starting")
        self.parked()

    def _tell(self, state: str) -> None:
        self._told = time.monotonic()
        logger.info(
            "%s: %s, waited %.0f s of %.0f s",
            self._what,
            state,
            self._told - self._since,
            self.seconds,
        )
