"""A fixture that fails a test which leaves a task, a socket or an unheard exception behind."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

__all__ = ["modules_frozen", "nothing_leaks", "settled", "sockets"]

_PATIENCE = 6.0  # seconds for what was told to end
_FDS = "/proc/self/fd"


def sockets() -> set[str]:
    """The sockets that this process has open, where the system tells."""
    found = set()
    if sys.platform == "linux":
        for fd in os.listdir(_FDS):
            try:
                name = os.readlink(f"{_FDS}/{fd}")
            except OSError:
                continue
            if name.startswith("socket:"):
                found.add(name)
    return found


async def settled(left: Any) -> Any:
    """What `left` still gives when it has been given time to become empty."""
    until = time.monotonic() + _PATIENCE
    while (rest := left()) and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    return rest


@pytest.fixture(scope="session")
def modules_frozen() -> None:
    # What was imported lives on; a collection needn't walk through it after each test.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
async def nothing_leaks(modules_frozen: None) -> AsyncIterator[None]:
    unheard: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unheard.append(context))
    tasks, open_before = asyncio.all_tasks(), sockets()
    yield
    left = await settled(lambda: asyncio.all_tasks() - tasks - {asyncio.current_task()})
    assert not left, "tasks are left"
    assert not await settled(lambda: sockets() - open_before), "sockets are left"
    gc.collect()
    await asyncio.sleep(0)
    assert not unheard, "exceptions that nobody asked for"
