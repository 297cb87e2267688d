from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from leaks import modules_frozen, nothing_leaks
from livekit.agents import utils

__all__ = ["modules_frozen", "nothing_leaks"]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "BASE_URL", "MODEL_ENDPOINT"):
        monkeypatch.delenv(f"BASETEN_{name}", raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def http_context(nothing_leaks: None) -> AsyncIterator[None]:
    async with utils.http_context.open():
        yield
