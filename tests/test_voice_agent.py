"""The deployed agent, its file as it stands, on LiveKit's TCP console with the sandbox behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.whisper import WhisperTranscriber
from surroundings import surroundings
from tcp_console import RATE, read_wav, run_agent
from transcripts import error_rate, heard_by, said_in

ROOT = Path(__file__).parent.parent
AGENT = ROOT / "examples" / "voice_agent.py"
CLIP = ROOT / "tests" / "speech" / "librivox-0930.wav"

pytestmark = [pytest.mark.models, pytest.mark.timeout(150)]


async def test_agent_greets_hears_answers_and_uses_its_tools() -> None:
    async with Sandbox() as sandbox:
        await sandbox.load()
        question = b"".join(
            [pcm async for pcm in sandbox.engines.synthesize("What time is it?", voice=None)]
        )
        environment = surroundings(**sandbox.environ())
        async with run_agent(
            "-m", "livekit.agents", "console", AGENT, environment=environment
        ) as console:
            await console.wait_for(lambda: len(console.messages("assistant")) == 1)

            console.say(*read_wav(CLIP))
            await console.wait_for(lambda: len(console.messages("assistant")) == 2)
            assert error_rate(said_in(CLIP), " ".join(console.transcripts)) <= 0.10
            assert console.calls == []

            console.say(np.frombuffer(question, "<i2"), 24000)
            await console.wait_for(lambda: len(console.messages("assistant")) == 3)
            assert console.calls == ["time_of_day"]

            assert "noise cancellation is off" in console.output
            assert "turn-detector-v1-mini" in console.output
            assert console.errors == []

    ear = WhisperTranscriber()
    said = console.messages("assistant")[:2]
    for text, speech in zip(said, console.speeches, strict=False):
        assert error_rate(text, heard_by(ear, speech, RATE)) <= 0.10
