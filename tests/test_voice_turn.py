"""The voice turn, run as a user runs it: a process, its two streams and its exit code."""

from __future__ import annotations

import asyncio
import functools
import importlib
import re
import socket
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from livekit.plugins.baseten_sandbox import Deployment, Fault, Sandbox
from livekit.plugins.baseten_sandbox.deployments import DEFAULT_DEPLOYMENTS
from livekit.plugins.baseten_sandbox.engines import Transcript
from livekit.plugins.baseten_sandbox.engines.script import Script
from livekit.plugins.baseten_sandbox.engines.tones import read
from livekit.plugins.baseten_sandbox.engines.whisper import WhisperTranscriber
from programs import EXAMPLES, Run, program
from tcp_console import read_wav
from transcripts import error_rate, heard_by, said_in

CLIPS = Path(__file__).parent / "speech"

# Starting an interpreter with LiveKit in it takes seconds where the processor is busy.
pytestmark = pytest.mark.timeout(120)

ask = functools.partial(program, "voice_turn.py")


def check_complaint(run: Run, *words: str) -> None:
    """One line for the user, a status for the shell, and nothing of the inner workings."""
    assert run.status not in (0, None), run.printed
    lines = run.complaint.splitlines()
    assert len(lines) == 1, run.complaint
    assert lines[0].startswith("voice_turn: ")
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in run.printed
    assert "secret" not in run.printed + run.complaint


# --- it works


@pytest.mark.models
async def test_human_question_is_heard_and_the_answer_is_what_was_said(tmp_path: Path) -> None:
    clip = CLIPS / "librivox-0930.wav"
    answer = tmp_path / "answer.wav"

    run = await ask("--output", answer)

    assert (run.status, run.complaint) == (0, "")
    assert "sandbox" in run.printed
    heard = "".join(re.findall(r"^You: +(.*)$", run.printed, re.M))
    said = "".join(re.findall(r"^Agent: +(.*)$", run.printed, re.M))
    assert error_rate(said_in(clip), heard) <= 0.10
    pcm, rate = read_wav(answer)
    assert error_rate(said, heard_by(WhisperTranscriber(), pcm, rate)) <= 0.10
    assert_waterfall(run)


def assert_waterfall(run: Run) -> None:
    times = {
        name: int(ms)
        for name, ms in re.findall(r"^  (\w[\w ]*?)  +\W+?(\d+) ms$", run.printed, re.M)
    }
    assert set(times) == {"final transcript", "turn is over", "first token", "first audio"}
    assert 0 < times["final transcript"] <= times["first token"] <= times["first audio"]
    assert times["turn is over"] <= times["first audio"]


class SameWords:
    """Hears the same in everything."""

    def load(self) -> None:
        pass

    def transcribe(
        self, pcm: NDArray[np.float32], *, language: str | None, word_times: bool
    ) -> Transcript:
        return Transcript("Who goes there?", (), -0.1, "en", 0.99)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Whoever speaks is heard, whatever they say, and answered in tones."""
    loading = Deployment(id="loading1", serves="whisper", state="loading")
    async with Sandbox(
        transcriber=SameWords(),
        detector="silero",
        synthesizer="tones",
        chat=Script("A friend with a lamp."),
        api_key="secret-of-the-sandbox",
        deployments=(*DEFAULT_DEPLOYMENTS, loading),
    ) as sandbox:
        yield sandbox


async def test_with_a_key_the_deployments_in_the_environment_are_used(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    answer = tmp_path / "answer.wav"

    run = await ask(CLIPS / "librivox-0880.wav", "--output", answer, environment=sandbox.environ())

    assert (run.status, run.complaint) == (0, "")
    assert "sandbox" not in run.printed
    assert "You:   Who goes there?\nAgent: A friend with a lamp.\n" in run.printed
    assert_waterfall(run)
    pcm, rate = read_wav(answer)
    assert [word.text for word in read(pcm, rate=rate)] == ["A", "friend", "with", "a", "lamp."]
    used = {session.deployment for session in sandbox.sessions}
    assert {"whisper1", "orpheus1"} <= used
    assert all(session.authorized for session in sandbox.sessions)


# --- the question can't be used


def silence(seconds: int) -> bytes:
    return b"\0\0" * 16000 * seconds


def write_wav(path: Path, pcm: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(pcm)


async def test_unusable_question(tmp_path: Path) -> None:
    text, big, answer = tmp_path / "text.wav", tmp_path / "big.wav", tmp_path / "answer.wav"
    text.write_text("Is anybody there?\n" * 100)
    with big.open("wb") as file:
        file.truncate(50_000_000)

    runs = await asyncio.gather(ask(text, "--output", answer), ask(big, "--output", answer))

    for run, question in zip(runs, (text, big), strict=True):
        check_complaint(run, question.name)
    assert not answer.exists()


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("recording")


def test_answer_with_nowhere_to_go(recording: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere"):
        recording.Speaker(tmp_path / "nowhere" / "answer.wav")


@pytest.mark.parametrize("flaw", ["missing", "folder", "empty", "soundless", "long"])
def test_unreadable_recording(flaw: str, recording: ModuleType, tmp_path: Path) -> None:
    question = tmp_path / "question.wav"
    match flaw:
        case "folder":
            question.mkdir()
        case "empty":
            question.touch()
        case "soundless":
            write_wav(question, b"")
        case "long":
            write_wav(question, silence(61))

    with pytest.raises(ValueError, match=r"question\.wav"):
        recording.read_recording(question)


async def test_silent_question(sandbox: Sandbox, tmp_path: Path) -> None:
    question = tmp_path / "question.wav"
    write_wav(question, silence(1))

    run = await ask(question, environment=sandbox.environ())

    check_complaint(run, "there is no speech")


# --- Baseten can't be used


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # and so by nobody who listens
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


async def test_speech_to_text_that_cannot_be_had(sandbox: Sandbox, closed_port: int) -> None:
    at_hand = sandbox.environ()
    nobody = f"ws://127.0.0.1:{closed_port}/model-abc/environments/production/websocket"
    mute = Deployment(id="mute1", serves="whisper")
    sandbox.deploy(mute)
    sandbox.faults.add(Fault(do="mute"), times=None, deployment="mute1")
    cases: list[tuple[dict[str, str], tuple[str, ...]]] = [
        ({**at_hand, "BASETEN_API_KEY": "wrong-secret"}, ("401", "key")),
        ({"BASETEN_API_KEY": "secret"}, ("BASETEN_STT_MODEL_ENDPOINT",)),
    ]
    for endpoint, words in (
        (sandbox.stt_endpoint.replace("whisper1", "nobody1"), ("404", "no such deployment")),
        (sandbox.url("loading1", "websocket"), ("speech-to-text", "starting")),
        (sandbox.url("mute1", "websocket"), ("no answer",)),
        (nobody, ("speech-to-text", "connect")),
    ):
        cases.append(({**at_hand, "BASETEN_STT_MODEL_ENDPOINT": endpoint}, words))

    runs = await asyncio.gather(*(ask("--patience", "5", environment=env) for env, _ in cases))

    for run, (_, words) in zip(runs, cases, strict=True):
        check_complaint(run, *words)


async def test_voice_that_is_gone_after_the_question_was_heard(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    answer = tmp_path / "answer.wav"
    environment = sandbox.environ()
    environment["BASETEN_TTS_MODEL_ENDPOINT"] = sandbox.tts_endpoint.replace("orpheus1", "nobody1")

    run = await ask("--output", answer, environment=environment)

    check_complaint(run, "404", "text-to-speech")
    assert not answer.exists()


async def test_half_an_answer_is_a_failure(sandbox: Sandbox, tmp_path: Path) -> None:
    answer = tmp_path / "answer.wav"
    cut = Fault(do="eof", on="send", after=20_000, unit="bytes")
    sandbox.faults.add(cut, times=None, deployment="orpheus1")

    run = await ask("--output", answer, environment=sandbox.environ())

    check_complaint(run, "text-to-speech")
    assert not answer.exists()


# --- the user has enough


async def test_interrupt(sandbox: Sandbox) -> None:
    run = await ask(environment=sandbox.environ(), interrupt_at="Asking")

    check_complaint(run, "stopped")
