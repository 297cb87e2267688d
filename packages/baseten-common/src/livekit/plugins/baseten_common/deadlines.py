from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

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


__all__ = ["SLOWEST", "Timeout", "extend", "timeout", "timeout_from"]

SLOWEST = 2**10
"""Bytes a second below which what still comes is as good as silence: speech takes 48 times that as it
is spoken."""


def timeout_from(
    due: asyncio.Future[None] | None, seconds: float | None
) -> contextlib.AbstractAsyncContextManager[object]:
    """Like ``timeout()``, counted from when ``due`` is done; from now on when it is None."""
    if seconds is None:
        return contextlib.nullcontext()
    if due is None or due.done():
        return timeout(seconds)
    return _timeout_from(due, seconds)


@contextlib.asynccontextmanager
async def _timeout_from(due: asyncio.Future[None], seconds: float) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    async with timeout(None) as limit:

        def begin(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # it ended in the same turn of the loop
                extend(limit, loop.time() + seconds)

        due.add_done_callback(begin)
        try:
            yield
        finally:
            due.remove_done_callback(begin)
