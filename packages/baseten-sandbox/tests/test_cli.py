from __future__ import annotations

import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from livekit.plugins.baseten_sandbox.cli import main
from livekit.plugins.baseten_sandbox.progress import ProgressBar


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "livekit.plugins.baseten_sandbox", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_tells_what_to_export_and_stops_cleanly(number: signal.Signals) -> None:
    process = start("serve", "--tones", "--port", "0", "--api-key", "it's secret")
    try:
        assert process.stdout is not None
        exports = next(line for line in process.stdout if line.startswith("export "))
        variables = dict(item.split("=", 1) for item in shlex.split(exports)[1:])
        assert variables["BASETEN_API_KEY"] == "it's secret"
        assert re.fullmatch(
            r"ws://127\.0\.0\.1:\d+/model-whisper1/environments/production/websocket",
            variables["BASETEN_STT_MODEL_ENDPOINT"],
        )
        assert set(variables) >= {"BASETEN_TTS_MODEL_ENDPOINT", "BASETEN_BASE_URL"}
        process.send_signal(number)
        _, errors = process.communicate(timeout=40)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_a_taken_port_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--tones", "--port", str(port)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"can't listen on 127.0.0.1:{port}" in error
    assert "--port" in error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tones", "--api-key", " "], "api_key can't be blank"),
        (["--tones", "--faults", "nosuch.json"], "nosuch.json: No such file"),
        (["--tones", "--replay", "nosuch.jsonl"], "nosuch.jsonl: No such file"),
        (["--tones", "--record", "nosuch/record.jsonl"], "nosuch/record.jsonl: No such file"),
        (["--whisper-model", "nosuch"], "no model.bin"),
    ],
)
def test_a_mistake_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["--port", "0", *arguments]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_fault_file_that_makes_no_sense_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"do": "explode"}]')
    assert main(["--tones", "--port", "0", "--faults", str(path)]) == 1
    assert "do is one of" in capsys.readouterr().err


@pytest.mark.parametrize("live", [False, True])
def test_the_progress_bar_fills_on_a_terminal_and_is_gone_afterwards(live: bool) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return live

    terminal = Terminal()
    bar = ProgressBar(2, stream=terminal)
    bar.step("loading one")
    bar.step("loading two")
    bar.finish()
    shown = terminal.getvalue()
    if live:
        assert shown.index("loading one") < shown.index("█") < shown.index("loading two")
        assert shown.endswith("\r\x1b[K")
    else:
        assert shown == "[1/2] loading one\n[2/2] loading two\n"
