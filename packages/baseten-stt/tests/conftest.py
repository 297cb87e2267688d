from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from livekit.plugins.baseten_sandbox import Sandbox

from .rig import Rig


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=10)
    assert not left


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(transcriber="tones", synthesizer="tones") as sandbox:
        yield sandbox


@pytest.fixture
async def http_session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def rig(sandbox, http_session) -> AsyncIterator[Rig]:
    rig = Rig(sandbox, http_session)
    yield rig
    for made in rig.made:
        await made.aclose()
