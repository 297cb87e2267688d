"""pytest fixtures: a sandbox for the tests of your own voice agent.

Installed with the package, so a test only has to ask::

    async def test_my_agent(baseten_environ, baseten_sandbox):
        await my_agent.answer("question.wav")
        assert baseten_sandbox.sessions[-1].closed_by == "client"
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from .background import BackgroundSandbox
    from .faults import FaultPlan

__all__ = ["baseten_environ", "baseten_faults", "baseten_sandbox"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that chooses the engines."""
    parser.addini(
        "baseten_sandbox_engines",
        'what hears and speaks in the Baseten sandbox: "models" (default) or "tones"',
        default="models",
    )


@pytest.fixture(scope="session")
def baseten_sandbox(request: pytest.FixtureRequest) -> Iterator[BackgroundSandbox]:
    """A local Baseten for the whole test session, its models loaded once."""
    from .background import BackgroundSandbox

    engines = str(request.config.getini("baseten_sandbox_engines"))
    if engines not in ("models", "tones"):
        raise pytest.UsageError(f'baseten_sandbox_engines is "models" or "tones", not {engines!r}')
    chosen: Literal["tones"] | None = "tones" if engines == "tones" else None
    with BackgroundSandbox(transcriber=chosen, synthesizer=chosen) as sandbox:
        sandbox.load_now()
        yield sandbox


@pytest.fixture
def baseten_faults(baseten_sandbox: BackgroundSandbox) -> Iterator[FaultPlan]:
    """The sandbox's fault plan, empty before and after the test."""
    baseten_sandbox.faults.clear()
    yield baseten_sandbox.faults
    baseten_sandbox.faults.clear()


@pytest.fixture
def baseten_environ(
    baseten_sandbox: BackgroundSandbox, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Environment variables that point at the sandbox, set for the test."""
    variables = baseten_sandbox.environ()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables
