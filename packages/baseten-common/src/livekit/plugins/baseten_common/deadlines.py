from __future__ import annotations

import sys

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


__all__ = ["SLOWEST", "Timeout", "extend", "timeout"]

SLOWEST = 2**10
"""Bytes a second below which what still comes is as good as silence: speech takes 48 times that as it
is spoken."""
