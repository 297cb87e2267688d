"""Waits for a deployment that is scaled to zero or still starting.

Baseten parks what is sent to such a one until a replica is up, so the caller sees silence; one that
is starting may also refuse (https://docs.baseten.co/deployment/autoscaling/request-lifecycle).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from livekit.agents import APIError, APIStatusError, APITimeoutError
from livekit.plugins.baseten_common import errors

from .progress import Progress

__all__ = ["awake"]

_PAUSE = 1.0

_T = TypeVar("_T")


async def awake(
    attempt: Callable[[float], Awaitable[_T]],
    *,
    timeout: float,
    budget: float,
    wake: Callable[[], Awaitable[None]] | None,
    progress: Progress,
) -> tuple[_T, float]:
    """Try something, and again for as long as the deployment is waking.

    Args:
        attempt: Tries once, with so many seconds for each answer.
        timeout: Seconds for the first try.
        budget: Seconds for all further ones; 0 leaves it at one.
        wake: Asks Baseten to wake the deployment, where that can be asked.
        progress: Where the wait is shown.

    Returns:
        What the try that got through returned, and the seconds until then if it had
        to be woken, else 0.

    Raises:
        APIError: the last try's.
    """
    start = time.monotonic()
    try:
        return await attempt(timeout), 0.0
    except APIError as error:
        if budget <= 0 or not _may_be_asleep(error):
            raise
    began = time.monotonic()
    async with progress.waking(budget):
        if wake is not None:
            # That it can't be asked doesn't matter: each try wakes it too.
            with contextlib.suppress(APIError, ValueError):
                await wake()
        while True:
            left = budget - (time.monotonic() - began)
            try:
                return await attempt(round(max(left, _PAUSE), 1)), time.monotonic() - start
            except APIError as error:
                left = budget - (time.monotonic() - began)
                if not _may_be_asleep(error) or left <= _PAUSE:
                    raise
            await asyncio.sleep(_PAUSE)


def _may_be_asleep(error: APIError) -> bool:
    if isinstance(error, APIStatusError):
        return errors.is_cold_start(error.status_code, error.message)
    return isinstance(error, APITimeoutError)
