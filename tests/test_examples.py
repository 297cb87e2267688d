"""The examples, run as a user runs them: processes, against a sandbox that hears and speaks in tones."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import random
import re
import signal
import socket
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from numpy.typing import NDArray

from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.script import Script
from livekit.plugins.baseten_sandbox.engines.tones import read, silence, speak
from livekit.protocol import agent as agent_pb
from programs import EXAMPLES, program
from surroundings import surroundings
from tcp_console import read_wav

# Starting an interpreter with LiveKit in it takes seconds where the processor is busy.
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(
        transcriber="tones", synthesizer="tones", api_key="secret-of-the-sandbox"
    ) as sandbox:
        yield sandbox


def write_wav(path: Path, pcm: NDArray[np.int16], rate: int = 16000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    first, _ = speak("my brother likes the sea")
    second, _ = speak("so do we all")
    pieces = [silence(0.3), first, silence(0.8), second, silence(0.8)]
    return write_wav(tmp_path / "recording.wav", np.concatenate(pieces))


def spoken(path: Path) -> str:
    pcm, rate = read_wav(path)
    return " ".join(word.text for word in read(pcm, rate=rate))


# --- hearing


@pytest.mark.models
async def test_transcribe_without_a_key() -> None:
    run = await program("transcribe.py")

    assert (run.status, run.complaint) == (0, "")
    assert "sandbox" in run.printed
    assert "might even have been made amiable" in run.printed


async def test_transcribe_prints_each_piece_with_its_time(
    sandbox: Sandbox, recording: Path
) -> None:
    run = await program("transcribe.py", recording, environment=sandbox.environ())

    assert (run.status, run.complaint) == (0, "")
    lines = re.findall(r"^\[ *([\d.]+) - +([\d.]+)\] (.*)$", run.printed, re.M)
    assert [text for _, _, text in lines] == ["my brother likes the sea", "so do we all"]
    (_, first_end, _), (second_start, _, _) = lines
    assert float(first_end) < float(second_start)


async def test_captions_of_a_pipe_and_of_a_recording(sandbox: Sandbox, recording: Path) -> None:
    pcm, _ = read_wav(recording)
    # Half a sample more, as of a recorder that is stopped.
    runs = await asyncio.gather(
        program("captions.py", "-", environment=sandbox.environ(), piped=pcm.tobytes() + b"\1"),
        program("captions.py", recording, environment=sandbox.environ()),
    )

    for run in runs:
        assert (run.status, run.complaint) == (0, "")
        assert run.printed.splitlines() == ["my brother likes the sea", "so do we all"]


async def test_what_goes_wrong_is_one_line(sandbox: Sandbox, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("Is anybody there?\n" * 100)
    right = sandbox.environ()
    wrong = {**right, "BASETEN_API_KEY": "wrong-secret"}
    sandbox.faults.add(
        Fault(do="eof", on="send", after=10_001, unit="bytes"), deployment="orpheus1", times=None
    )
    half = tmp_path / "half.wav"

    runs = await asyncio.gather(
        program("transcribe.py", tmp_path / "nothing.wav", environment=right),
        program("transcribe.py", text, environment=right),
        program("speak.py", "hello there everyone", "--output", half, environment=right),
        program("tools.py", "Hello?", environment=wrong),
    )

    for run, word in zip(runs, ("nothing.wav", "", "text-to-speech", "401"), strict=True):
        assert run.status == 1, run.printed
        assert len(run.complaint.splitlines()) == 1, run.complaint
        assert word in run.complaint
        assert "secret" not in run.printed + run.complaint
    assert not half.exists()


# --- speaking


async def test_speak_and_spoken_answer(tmp_path: Path) -> None:
    speech, answer = tmp_path / "speech.wav", tmp_path / "answer.wav"
    async with Sandbox(
        transcriber="tones", synthesizer="tones", chat=Script("The sea is wide. It is deep too.")
    ) as sandbox:
        runs = await asyncio.gather(
            program("speak.py", "hello there", "--output", speech, environment=sandbox.environ()),
            program("spoken_answer.py", "--output", answer, environment=sandbox.environ()),
        )

    for run in runs:
        assert (run.status, run.complaint) == (0, "")
    assert spoken(speech) == "hello there"
    assert spoken(answer) == "The sea is wide. It is deep too."
    assert re.search(r"first token after .*\nfirst sound after", runs[1].printed)


# --- conversations


@pytest.fixture
def phone(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("phone")


def test_mulaw_is_exact_on_its_levels_and_near_elsewhere(phone: ModuleType) -> None:
    codes = bytes(code for code in range(256) if code != 0x7F)  # 0x7F is 0xFF's other zero
    assert phone.encode(phone.decode(codes)) == codes
    every = np.arange(-32768, 32768).astype(np.int16)
    apart = np.abs(phone.decode(phone.encode(every)).astype(int) - every)
    assert (apart <= np.maximum(8, np.abs(every.astype(int)) // 16)).all()
    # ITU-T G.711: the loudest and the most quiet.
    assert list(phone.decode(b"\x80\x00\xff")) == [32124, -32124, 0]


async def test_phone_takes_and_gives_mulaw(phone: ModuleType, tmp_path: Path) -> None:
    pcm, _ = speak("are you there", rate=8000)
    call, output = tmp_path / "call.ulaw", tmp_path / "agent.ulaw"
    call.write_bytes(phone.encode(np.concatenate([pcm, silence(1.0, rate=8000)])))
    async with Sandbox(
        transcriber="tones", synthesizer="tones", chat=Script("Yes, I am here.")
    ) as sandbox:
        run = await program("phone.py", call, "--output", output, environment=sandbox.environ())

    assert (run.status, run.complaint) == (0, "")
    assert "Caller: are you there\nAgent:  Yes, I am here.\n" in run.printed
    said = output.read_bytes()
    assert len(said) % phone.PACKET == 0
    assert [w.text for w in read(phone.decode(said), rate=8000)] == ["Yes,", "I", "am", "here."]


async def test_language_is_switched_in_the_middle_of_a_call(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    pcm, _ = speak("my brother likes the sea")
    clip = write_wav(tmp_path / "clip.wav", np.concatenate([pcm, silence(0.5)]))

    run = await program(
        "languages.py", clip, clip, "--output", tmp_path / "call.wav", environment=sandbox.environ()
    )

    assert (run.status, run.complaint) == (0, "")
    assert run.printed.count("Caller: my brother likes the sea\n") == 2
    assert "(from here on in Spanish)" in run.printed
    heard_in = [
        session.received_json[0]["whisper_params"]["audio_language"]
        for session in sandbox.sessions
        if session.deployment == "whisper1" and session.received_frames
    ]
    assert heard_in == ["en", "es"]
    voices = [
        session.received_json[0]["voice"]
        for session in sandbox.sessions
        if session.deployment == "orpheus1" and session.received_texts
    ]
    assert (voices[0], voices[-1]) == ("tara", "javi")


async def test_fallback_goes_on_with_the_second_deployments(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    pcm, _ = speak("my brother likes the sea")
    clip = write_wav(tmp_path / "clip.wav", np.concatenate([pcm, silence(0.5)]))
    output = tmp_path / "answer.wav"
    sandbox.faults.add(Fault(do="status", status=500), times=None, deployment="whisper1")
    sandbox.faults.add(Fault(do="status", status=500), times=None, deployment="orpheus1")
    spare = {
        "SPARE_STT_ENDPOINT": sandbox.url("whisper2", "websocket"),
        "SPARE_TTS_ENDPOINT": sandbox.tts_websocket_endpoint,
    }

    run = await program(
        "fallback.py", clip, "--output", output, environment={**sandbox.environ(), **spare}
    )

    assert (run.status, run.complaint) == (0, "")
    assert "(hearing: a deployment failed" in run.printed
    assert "(speaking: a deployment failed" in run.printed
    assert "You:   my brother likes the sea\n" in run.printed
    said = re.search(r"^Agent: (.*)$", run.printed, re.M)
    assert said
    assert spoken(output) == said[1]


async def test_tools_are_called_together_and_say_what_is_wrong(sandbox: Sandbox) -> None:
    run = await program(
        "tools.py", "What is the weather in Oslo and Lisbon?", environment=sandbox.environ()
    )

    assert (run.status, run.complaint) == (0, "")
    calls = re.findall(r"calls (\w+)", run.printed)
    assert calls == ["weather", "weather"]
    assert "gives: There is snow" in run.printed
    assert "fails: There is no weather station in Lisbon." in run.printed
    assert "Agent: " in run.printed


async def test_restaurant_has_tests_that_pass() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pytest", "-q", EXAMPLES / "restaurant", "-p", "no:cacheprovider"),
        env=surroundings(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 100)
    assert process.returncode == 0, printed.decode()
    assert b"6 passed" in printed


# --- a fleet


class Dispatch:
    """As much of a LiveKit server as workers see: they register, and are asked whether they have room."""

    def __init__(self) -> None:
        self.registered: list[agent_pb.RegisterWorkerRequest] = []
        self.answers: list[agent_pb.AvailabilityResponse] = []
        self.changed = asyncio.Condition()

    async def worker(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for received in socket:
            message = agent_pb.WorkerMessage.FromString(received.data)
            async with self.changed:
                if message.HasField("register"):
                    self.registered.append(message.register)
                    name = f"worker-{len(self.registered)}"
                    hello = agent_pb.RegisterWorkerResponse(worker_id=name)
                    await self._send(socket, agent_pb.ServerMessage(register=hello))
                    offer = agent_pb.AvailabilityRequest(job=agent_pb.Job(id=f"job-of-{name}"))
                    await self._send(socket, agent_pb.ServerMessage(availability=offer))
                elif message.HasField("availability"):
                    self.answers.append(message.availability)
                self.changed.notify_all()
        return socket

    @staticmethod
    async def _send(socket: web.WebSocketResponse, message: agent_pb.ServerMessage) -> None:
        await socket.send_bytes(message.SerializeToString())


@contextlib.asynccontextmanager
async def fleet(dispatch: Dispatch, *health_ports: int) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_get("/agent", dispatch.worker)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    workers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, EXAMPLES / "fleet" / "worker.py", "start"),
            env=surroundings(
                LIVEKIT_URL=f"ws://127.0.0.1:{port}",
                LIVEKIT_API_KEY="devkey",
                LIVEKIT_API_SECRET="secret" * 8,
                HEALTH_PORT=str(health),
                AGENT_NAME="assistant",
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            # A worker that is told to stop twice kills its whole process group.
            start_new_session=True,
        )
        for health in health_ports
    ]
    try:
        yield
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            assert await asyncio.wait_for(worker.wait(), 60) == 0
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
        await runner.cleanup()


def ports_of_their_own(number: int) -> list[int]:
    """Ports that nobody has, and that the system gives to no connection meanwhile."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in random.sample(range(20_000, 30_000), 1000):
            taken = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                taken.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == number:
                break
    return found


async def test_workers_side_by_side_register_and_take_calls() -> None:
    dispatch = Dispatch()
    ports = ports_of_their_own(2)
    async with fleet(dispatch, *ports):
        async with dispatch.changed:
            await asyncio.wait_for(
                dispatch.changed.wait_for(lambda: len(dispatch.answers) == 2), 60
            )
        async with aiohttp.ClientSession() as client:
            for port in ports:
                async with client.get(f"http://127.0.0.1:{port}/worker") as answer:
                    assert (await answer.json())["agent_name"] == "assistant"

    assert [each.agent_name for each in dispatch.registered] == ["assistant"] * 2
    assert {each.job_id for each in dispatch.answers} == {"job-of-worker-1", "job-of-worker-2"}
    assert all(each.available for each in dispatch.answers)
