"""``speak``, ``transcribe``, ``chat``, and what the command line does as a whole."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from livekit.plugins.baseten.cli import main
from livekit.plugins.baseten_sandbox import Fault
from livekit.plugins.baseten_sandbox.background import BackgroundSandbox
from livekit.plugins.baseten_sandbox.engines.tones import read, silence, speak

Captured = pytest.CaptureFixture[str]


def words_of(path: Path) -> list[str]:
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        return [word.text for word in read(file.readframes(file.getnframes()), rate=rate)]


def record(path: Path, pcm: np.ndarray, *, rate: int = 16000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(pcm, channels).astype("<i2").tobytes())
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    first, _ = speak("turn the lights on")
    second, _ = speak("and the heating off")
    return record(tmp_path / "call.wav", np.concatenate([first, silence(0.6), second]))


Typed = Callable[[bytes], None]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    """Puts something into standard input."""
    with contextlib.ExitStack() as stack:

        def give(data: bytes) -> None:
            ours, theirs = os.pipe()

            def write() -> None:
                with contextlib.suppress(BrokenPipeError), os.fdopen(theirs, "wb") as file:
                    file.write(data)

            thread = threading.Thread(target=write)
            # Only after the reader is closed: a program that fails early reads nothing.
            stack.callback(thread.join)
            monkeypatch.setattr(sys, "stdin", stack.enter_context(os.fdopen(ours)))
            thread.start()

        yield give
        monkeypatch.undo()


@pytest.mark.parametrize("over", ["http", "websocket"])
def test_speak_writes_a_file(
    sandbox: BackgroundSandbox, capsys: Captured, tmp_path: Path, over: str
) -> None:
    path = tmp_path / "out.wav"
    url = sandbox.tts_endpoint if over == "http" else sandbox.tts_websocket_endpoint
    assert main(["speak", "good", "morning to you", "-o", str(path), "--tts-endpoint", url]) == 0
    assert words_of(path) == ["good", "morning", "to", "you"]
    assert list(tmp_path.iterdir()) == [path]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    printed, told = capsys.readouterr()
    assert printed == ""
    assert "s of speech" in told


def test_speak_takes_a_pipe(sandbox: BackgroundSandbox, typed: Typed, tmp_path: Path) -> None:
    typed(b"good morning to you")
    path = tmp_path / "out.wav"
    assert main(["speak", "-q", "-o", str(path)]) == 0
    assert words_of(path) == ["good", "morning", "to", "you"]


def test_half_a_text_is_no_file(
    sandbox: BackgroundSandbox, capsys: Captured, tmp_path: Path
) -> None:
    sandbox.faults.add(Fault(do="eof", on="send", after=20001, unit="bytes"), times=None)
    path = tmp_path / "out.wav"
    path.write_bytes(b"an older one")
    assert main(["speak", "one two three four five six", "-o", str(path)]) == 1
    assert path.read_bytes() == b"an older one"
    assert list(tmp_path.iterdir()) == [path]
    assert capsys.readouterr().err.count("\n") == 1


def test_transcribe_prints_each_stretch(
    sandbox: BackgroundSandbox, capsys: Captured, recording: Path
) -> None:
    assert main(["transcribe", str(recording)]) == 0
    assert capsys.readouterr() == ("turn the lights on\nand the heating off\n", "")


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (48000, 2), (44100, 1)])
def test_transcribe_takes_any_rate(
    sandbox: BackgroundSandbox, capsys: Captured, tmp_path: Path, rate: int, channels: int
) -> None:
    pcm, _ = speak("turn the lights on", rate=rate)
    path = record(tmp_path / "call.wav", pcm, rate=rate, channels=channels)
    assert main(["transcribe", str(path)]) == 0
    assert capsys.readouterr().out == "turn the lights on\n"


def test_transcribe_from_a_pipe_to_json(
    sandbox: BackgroundSandbox, capsys: Captured, recording: Path, typed
) -> None:
    typed(recording.read_bytes())
    assert main(["transcribe", "-", "--format", "json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["text"] == "turn the lights on"
    assert [word["text"] for word in second["words"]] == ["and", "the", "heating", "off"]
    assert second["start"] == pytest.approx(1.8, abs=0.2)


def test_transcribe_to_subtitles(
    sandbox: BackgroundSandbox, capsys: Captured, recording: Path
) -> None:
    assert main(["transcribe", str(recording), "--format", "srt"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert blocks[0].splitlines()[0] == "1"
    assert blocks[0].splitlines()[1].startswith("00:00:0")
    assert blocks[1].splitlines()[2] == "and the heating off"


def test_silence_is_told(sandbox: BackgroundSandbox, capsys: Captured, tmp_path: Path) -> None:
    path = record(tmp_path / "call.wav", silence(1.0))
    assert main(["transcribe", str(path)]) == 0
    assert capsys.readouterr() == ("", "no speech was heard\n")


def test_chat_prints_the_answer(sandbox: BackgroundSandbox, capsys: Captured, typed: Typed) -> None:
    assert main(["chat", "Say hello."]) == 0
    printed, told = capsys.readouterr()
    assert printed.strip()
    assert printed.endswith("\n")
    assert told == ""
    typed(b"Say hello.")
    assert main(["chat", "--system", "Be brief."]) == 0
    roles = [m["role"] for m in sandbox.sessions[-1].received_json[0]["messages"]]
    assert roles == ["system", "user"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["speak", "", "-o", "x.wav"], "the text is empty"),
        (["speak", "a", "-o", "nosuch/x.wav"], "No such file"),
        (["speak", "a", "-o", "x.wav", "--tts-option", "nosuch=1"], "no option 'nosuch'"),
        (["speak", "a", "-o", "x.wav", "--tts-option", "nosuch"], "takes name=value"),
        (["speak", "a", "-o", "x.wav", "--tts-option", "api_key=x"], "BASETEN_API_KEY"),
        (["speak", "a", "-o", "x.wav", "--tts-option", "temperature=hot"], "temperature"),
        (["speak", "a", "-o", "x.wav", "--tts-model", "qwen3-tts"], "qwen3-tts"),
        (["transcribe", "nosuch.wav"], "nosuch.wav: No such file"),
        (["transcribe", __file__], "isn't audio"),
        (["transcribe", "."], "directory"),
        (["chat", ""], "the text is empty"),
        (["chat", "a", "--llm-model", "no/such"], "retired, or not enabled"),
        (["chat", "a", "--llm-base-url", "http://127.0.0.1:1/v1"], "Check the URL"),
        (["doctor", "--report", "nosuch/report.html", "--only", "llm"], "No such file"),
        (["doctor", "--audio", "nosuch.wav"], "nosuch.wav: No such file"),
        (["doctor", "--audio", __file__], "isn't audio"),
    ],
)
def test_a_failure_is_one_clear_line(
    sandbox: BackgroundSandbox,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "-q"]) == 1
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor", "--only", "stt,nosuch"],
        ["doctor", "--timeout", "0"],
        ["doctor", "--wake", "nan"],
        ["doctor", "--text", ""],
        ["doctor", "--text", " … "],
        [],
    ],
)
def test_arguments_that_make_no_sense(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize("path", ["", "nosuch.pem"])
@pytest.mark.parametrize("command", [["doctor"], ["chat", "a"]])
def test_a_missing_file_of_authorities(
    sandbox: BackgroundSandbox,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    path: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", path)
    assert main(command) == 1
    assert "SSL_CERT_FILE names no file" in capsys.readouterr().err


@pytest.mark.parametrize("before", [True, False])
def test_a_key_on_the_command_line_is_refused_unseen(before: bool, capsys: Captured) -> None:
    key = ["--api-key", "sk-precious"]
    with pytest.raises(SystemExit) as stopped:
        main([*key, "doctor"] if before else ["doctor", *key])
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert "BASETEN_API_KEY" in told
    assert "precious" not in told


@pytest.mark.parametrize("command", ["doctor", "speak", "transcribe", "chat"])
def test_help_has_examples(command: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"python -m livekit.plugins.baseten {command}" in capsys.readouterr().out


def run(*arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "livekit.plugins.baseten", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_it_is_stopped_by_ctrl_c(sandbox: BackgroundSandbox) -> None:
    sandbox.faults.add(Fault(do="park"), times=None)
    process = run(
        *("doctor", "--only", "llm", "--timeout", "50"),
        # Scripts have what they start in the background ignore it, and its children too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "TLS" in line:
                break
        process.send_signal(signal.SIGINT)
        printed, told = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "answers" in printed  # what was found until then
    assert printed.splitlines()[-1] == "Stopped."
    assert told.strip() == "stopped"


def test_a_failure_leaves_a_pipe_empty(sandbox: BackgroundSandbox) -> None:
    process = run("speak", "")
    printed, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert printed == ""
    assert "the text is empty" in told


@pytest.mark.skipif(os.name == "nt", reason="pipes end otherwise there")
def test_a_reader_that_has_enough_is_no_error(sandbox: BackgroundSandbox) -> None:
    process = run("speak", " ".join(["word"] * 300))
    assert process.stdout is not None
    os.read(process.stdout.fileno(), 44)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=30) == 1
