"""The plugin that LiveKit publishes runs on the sandbox, unmodified: that is how faithful it is."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import BackgroundSandbox
from livekit.plugins.baseten_sandbox.engines.tones import read, silence, speak

PEER = "livekit-plugins-baseten==1.8.9"
TEXT = "hello there my friend"
UV = shutil.which("uv")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        UV is None, reason="needs uv to make an environment for the published plugin"
    ),
]


@pytest.fixture(scope="module")
def peer_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peer")
    assert UV is not None
    for command in (
        [UV, "venv", "--quiet", "env"],
        [UV, "pip", "install", "--quiet", "--python", "env", PEER, "numpy"],
    ):
        subprocess.run(command, cwd=folder, check=True, timeout=300)
    return folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def test_it_transcribes_and_speaks_over_every_protocol(peer_python: Path) -> None:
    pcm = np.concatenate([silence(0.3), speak(TEXT)[0], silence(1.0)]).tobytes()
    with BackgroundSandbox(transcriber="tones", synthesizer="tones") as sandbox:
        task = {
            "api_key": sandbox.api_key,
            "pcm": base64.b64encode(pcm).decode(),
            "text": TEXT,
            "stt": {
                "whisper": {"model_endpoint": sandbox.stt_endpoint},
                "whisper-chain": {"model_endpoint": sandbox.url("whisper2", "websocket")},
                "qwen3-asr": {"model": "qwen3-asr", "model_endpoint": sandbox.qwen_stt_endpoint},
            },
            "tts": {
                "orpheus-http": {"model_endpoint": sandbox.tts_endpoint},
                "orpheus-websocket": {"model_endpoint": sandbox.tts_websocket_endpoint},
                "qwen3-tts": {
                    "model": "qwen3-tts",
                    "voice": "ryan",
                    "model_endpoint": sandbox.qwen_tts_endpoint,
                },
            },
        }
        run = subprocess.run(
            [str(peer_python), str(Path(__file__).with_name("peer_client.py"))],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=90,
        )
    assert run.returncode == 0, run.stderr
    answers = {line["name"]: line for line in map(json.loads, run.stdout.splitlines())}
    assert {name: answers[name]["text"] for name in task["stt"]} == dict.fromkeys(task["stt"], TEXT)
    spoken = {
        name: [w.text for w in read(base64.b64decode(answers[name]["audio"]), rate=24000)]
        for name in task["tts"]
    }
    assert spoken == dict.fromkeys(task["tts"], TEXT.split())
