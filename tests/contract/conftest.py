from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from leaks import modules_frozen, nothing_leaks
from livekit.agents import utils
from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.script import Script

from .uses import SAID

__all__ = ["Watched", "modules_frozen", "nothing_leaks"]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "BASE_URL", "MODEL_ENDPOINT"):
        monkeypatch.delenv(f"BASETEN_{name}", raising=False)
    for component in ("STT", "TTS", "LLM"):
        for name in ("MODEL_ENDPOINT", "MODEL_ID", "CHAIN_ID"):
            monkeypatch.delenv(f"BASETEN_{component}_{name}", raising=False)


@pytest.fixture
async def http_context(nothing_leaks: None) -> AsyncIterator[None]:
    async with utils.http_context.open():
        yield


@pytest.fixture
async def sandbox(http_context: None) -> AsyncIterator[Sandbox]:
    chat = Script(SAID, loop=True)
    async with Sandbox(transcriber="tones", synthesizer="tones", chat=chat) as sandbox:
        yield sandbox


@dataclass
class Watched:
    """What a component has reported."""

    model: Any
    metrics: list[Any] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)

    @property
    def recoverable(self) -> list[bool]:
        return [event.recoverable for event in self.errors]

    @property
    def usage(self) -> list[Any]:
        """Metrics other than those of a connection that was opened, which come with no usage."""
        return [m for m in self.metrics if m.type != "stt_metrics" or m.audio_duration]


@pytest.fixture
async def watch(sandbox: Sandbox) -> AsyncIterator[Callable[[Any], Watched]]:
    made: list[Any] = []

    def watch(model: Any) -> Watched:
        made.append(model)
        watched = Watched(model)
        model.on("metrics_collected", watched.metrics.append)
        model.on("error", watched.errors.append)
        return watched

    yield watch
    for model in made:
        await model.aclose()
