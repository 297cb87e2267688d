from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path

from livekit.plugins.baseten_sandbox import DEFAULT_DEPLOYMENTS, Sandbox
from livekit.plugins.baseten_sandbox.control import queue_faults
from livekit.plugins.baseten_sandbox.faults import FaultAction, FaultPlan

README = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")


def test_the_program_in_it_runs() -> None:
    program = re.search(r"runs as it stands -->\n```python\n(.*?)```", README, re.DOTALL)
    assert program is not None
    run = subprocess.run(
        [sys.executable, "-c", program[1]], capture_output=True, text=True, timeout=50
    )
    assert run.stderr == ""
    assert [line.split()[0] for line in run.stdout.splitlines()] == [
        "429",
        "200",
        "orpheus1",
        "orpheus1",
    ]


def test_every_deployment_fault_and_argument_is_in_it() -> None:
    names = {d.id for d in DEFAULT_DEPLOYMENTS}
    names |= set(FaultAction.__args__)  # type: ignore[attr-defined]
    names |= set(inspect.signature(Sandbox).parameters) - {"agent"}
    assert not {name for name in names if f"`{name}" not in README}


def test_the_fault_of_the_command_line_is_one() -> None:
    import json

    body = re.search(r"-d '(.*?)' ", README)
    assert body is not None
    plan = FaultPlan()
    queue_faults(json.loads(body[1]), plan)
    assert plan.pending == 1


def test_the_environment_variables_are_complete() -> None:
    async def environ() -> dict[str, str]:
        async with Sandbox(transcriber="tones", synthesizer="tones") as sandbox:
            return sandbox.environ()

    assert set(asyncio.run(environ())) == {
        "BASETEN_API_KEY",
        "BASETEN_STT_MODEL_ENDPOINT",
        "BASETEN_TTS_MODEL_ENDPOINT",
        "BASETEN_BASE_URL",
    }
