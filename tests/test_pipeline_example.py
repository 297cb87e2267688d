"""The pipeline printed in the plugin's documentation, which users copy, run as it is printed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from internet import TURN_DETECTOR, internet
from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.whisper import WhisperTranscriber
from surroundings import surroundings
from tcp_console import RATE, read_wav, run_agent
from transcripts import error_rate, heard_by, said_in

PIPELINE = Path(__file__).parent / "pipeline"
CLIP = Path(__file__).parent / "speech" / "librivox-0930.wav"

pytestmark = [
    pytest.mark.models,
    pytest.mark.timeout(150),
    pytest.mark.skipif(
        find_spec("livekit.plugins.turn_detector") is None,
        reason="livekit-plugins-turn-detector can't be installed on Python 3.10",
    ),
]


async def test_documented_pipeline_runs_as_printed(tmp_path: Path) -> None:
    """Deprecated names, Baseten's own host names and all; only the two ids are filled in.

    What stands in for the world outside:

    * The sandbox serves ``model-….api.baseten.co`` and ``inference.baseten.co``, with a certificate
      for these names that the agent's process trusts by ``SSL_CERT_FILE``, and checks. The process
      gets there by ``HTTPS_PROXY``, as from behind a company's proxy.
    * `MultilingualModel` needs weights from Hugging Face, or LiveKit's hosted end-of-turn service.
      It asks the service here, which a stand-in at ``LIVEKIT_REMOTE_EOT_URL`` plays; it finds every
      turn likely over. So the class is really used, but its model isn't.
    * There is no room: the TCP console takes its place, so noise cancellation is created and unused.
    * ``cli.run_app`` is called as printed. Of what it does, only the command line's console, which
      wants a sound card, gives way to the TCP console.
    """
    printed = (PIPELINE / "documented.txt").read_text()
    program = tmp_path / "agent.py"
    program.write_text(
        printed.replace("your-whisper-model-id", "whisper1").replace(
            "your-orpheus-model-id", "orpheus1"
        )
    )
    async with Sandbox(tls=True) as sandbox, internet(sandbox.port) as (outside, proxy):
        await sandbox.load()
        environment = surroundings(
            BASETEN_API_KEY=sandbox.api_key,
            SSL_CERT_FILE=str(sandbox.certificate),
            HTTPS_PROXY=proxy,
            LIVEKIT_REMOTE_EOT_URL=TURN_DETECTOR,
            HF_HUB_OFFLINE="1",
        )
        async with run_agent(PIPELINE / "console.py", program, environment=environment) as console:
            await console.wait_for(lambda: len(console.messages("assistant")) == 1)

            console.say(*read_wav(CLIP))
            await console.wait_for(lambda: len(console.messages("assistant")) == 2)

        assert error_rate(said_in(CLIP), " ".join(console.transcripts)) <= 0.10
        assert console.errors == []
        assert {"model-whisper1.api.baseten.co", "model-orpheus1.api.baseten.co"} <= set(
            outside.tunnels
        )
        assert "inference.baseten.co" in outside.tunnels
        assert outside.predictions, "the turn detector wasn't asked"
        assert outside.refused == [], "something else was wanted from the Internet"
        assert all(session.authorized for session in sandbox.sessions)

    ear = WhisperTranscriber()
    for text, speech in zip(console.messages("assistant"), console.speeches, strict=True):
        assert error_rate(text, heard_by(ear, speech, RATE)) <= 0.10
