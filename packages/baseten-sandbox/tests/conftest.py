from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from livekit.plugins.baseten_sandbox import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(transcriber="tones", synthesizer="tones") as running:
        yield running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield session
