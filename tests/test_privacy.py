"""Nothing leaves the machine: the sandbox's models talk to nobody."""

from __future__ import annotations

import asyncio
import sys

import pytest

from surroundings import surroundings

PROGRAM = """
import os
from livekit.plugins.baseten_sandbox.engines.hibari import HibariSynthesizer

HibariSynthesizer().load()
print(os.environ.get("ORT_DISABLE_TELEMETRY"))
"""


@pytest.mark.models
async def test_runtime_of_the_models_is_told_not_to_report() -> None:
    """Its reports go out some ten seconds later, too late for a test to wait for them."""
    environment = surroundings()
    del environment["ORT_DISABLE_TELEMETRY"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, env=environment, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 50)

    assert printed.decode().strip() == "1"
