"""Many uses at a time of one and the same component don't get into each other's way."""

from __future__ import annotations

import asyncio

import pytest

from livekit.agents import APIConnectOptions
from livekit.plugins.baseten_sandbox import Sandbox

from .uses import SAID, USES, WARM, Use

CONN = APIConnectOptions(max_retry=0, timeout=10.0)


@pytest.mark.parametrize("use", USES + WARM, ids=lambda use: use.name)
async def test_many_at_a_time(use: Use, sandbox: Sandbox, watch) -> None:
    watched = watch(use.make(sandbox))
    watched.model.prewarm()
    said = await asyncio.gather(*(use.run(watched.model, CONN) for _ in range(5)))
    assert said == [SAID] * 5
    # Those after them start while sockets are being given back, and are called off at once.
    for _ in range(3):
        tasks = [asyncio.create_task(use.run(watched.model, CONN)) for _ in range(3)]
        await tasks[0]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert await use.run(watched.model, CONN) == SAID
    assert not watched.errors
    await watched.model.aclose()
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)
