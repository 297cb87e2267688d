from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from livekit.plugins.baseten.cli import main
from livekit.plugins.baseten_sandbox.background import BackgroundSandbox

VARIABLES = (
    "API_KEY",
    "BASE_URL",
    "MODEL_ENDPOINT",
    *(
        f"{part}_{name}"
        for part in ("STT", "TTS", "LLM")
        for name in ("MODEL_ENDPOINT", "MODEL_ID", "CHAIN_ID")
    ),
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"BASETEN_{name}", raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[BackgroundSandbox]:
    """A sandbox that the environment names."""
    with BackgroundSandbox(transcriber="tones", synthesizer="tones") as sandbox:
        for name, value in sandbox.environ().items():
            monkeypatch.setenv(name, value)
        yield sandbox


@dataclass(frozen=True)
class Findings:
    """What ``doctor --json`` printed."""

    status: int
    printed: str
    progress: str
    data: dict[str, Any]

    def check(self, part: str, name: str) -> dict[str, Any]:
        (found,) = [c for c in self.data["checks"] if (c["part"], c["check"]) == (part, name)]
        return found

    @property
    def failed(self) -> list[str]:
        return [f"{c['part']} {c['check']}" for c in self.data["checks"] if c["status"] == "failed"]


Doctor = Callable[..., Findings]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs the doctor with few words to say and no wish to wait."""

    def run(*arguments: str) -> Findings:
        status = main(["doctor", "--json", "--text", "one two three", "--wake", "0", *arguments])
        printed, progress = capsys.readouterr()
        assert "Traceback" not in progress
        return Findings(status, printed, progress, json.loads(printed))

    return run
