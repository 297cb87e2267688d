from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import Any, TypeVar

from livekit.agents.utils import aio

if sys.version_info >= (3, 11):
    from asyncio import Timeout, timeout

    def extend(limit: Timeout, until: float) -> None:
        """Move the end of a running ``timeout()`` to a time of the loop's clock."""
        limit.reschedule(until)
else:
    from async_timeout import Timeout, timeout

    def extend(limit: Timeout, until: float) -> None:
        """Move the end of a running ``timeout()`` to a time of the loop's clock."""
        limit.update(until)


__all__ = ["MIN_BYTES_PER_SECOND", "Timeout", "extend", "timeout", "within"]

_T = TypeVar("_T")

MIN_BYTES_PER_SECOND = 2**10
"""Bytes a second below which what still comes is as good as silence: speech takes 48 times that as it
is spoken."""


async def within(
    seconds: float | None, work: Awaitable[_T], *, due: asyncio.Future[None] | None
) -> _T:
    """Wait for something so many seconds, counted from when ``due`` is done; from now if it is None.

    Raises:
        asyncio.TimeoutError: it took longer.
    """
    if due is None or due.done() or seconds is None:
        async with timeout(seconds):
            return await work
    task = asyncio.ensure_future(work)
    try:
        either: list[asyncio.Future[Any]] = [task, due]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        if not task.done():
            await aio.cancel_and_wait(task)
