"""Who may use a model next: whoever waits for a final goes in front of whoever waits for a partial."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

__all__ = ["Turnstile"]


class Turnstile:
    """Lets so many in at once, the urgent first, otherwise in order.

    Args:
        slots: How many may be in.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._order = count()
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []

    async def enter(self, *, urgent: bool) -> None:
        """Wait for a slot; whoever got one must `leave`."""
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (not urgent, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            # The slot may have been handed over in the very moment of giving up.
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Hand the slot to whoever is next."""
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
