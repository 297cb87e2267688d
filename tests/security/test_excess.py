"""Answers beyond all measure cost bounded memory and time, and end in an error or a result."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from contract.uses import SAID, USES, Use
from livekit.agents import APIConnectOptions, APIError
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.script import Script

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz"
CONN = APIConnectOptions(max_retry=0, timeout=10.0)
BOUND = 30.0  # seconds; a decoder that takes quadratic time takes hours


def _decoders() -> dict[str, Callable[[bytes], None]]:
    spec = importlib.util.spec_from_file_location("decoders", FUZZ / "decoders.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("decoders", module)
    spec.loader.exec_module(module)
    return module.DECODERS


DECODERS = _decoders()


@pytest.mark.parametrize("name", DECODERS)
def test_what_the_fuzzer_kept(name: str) -> None:
    inputs = sorted((FUZZ / "corpus" / name).iterdir())
    assert inputs
    for path in inputs:
        DECODERS[name](path.read_bytes())


def segments(number: int) -> bytes:
    # Just below what a message may have.
    body = ",".join(['{"text":"a"}'] * number)
    return f'{{"type":"transcription","segments":[{body}]}}'.encode()


def words(number: int) -> bytes:
    word = {"word": "a", "start_time": 0.5, "end_time": 1.0, "prob": 0.9}
    segment = {"text": "a", "word_timestamps": [word] * number}
    return json.dumps({"type": "transcription", "segments": [segment]}).encode()


EXCESS = {
    "deep-lists": lambda: b"[" * 1_000_000,
    "deep-objects": lambda: b'{"error":' * 500_000,
    "deep-and-closed": lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "segments": lambda: segments(1_000_000),
    "words": lambda: words(200_000),
    "odd-times": lambda: (
        b'{"type":"transcription","segments":[{"text":"a","start_time":NaN,"end_time":1e999},'
        b'{"text":"b","start_time":-Infinity,"end_time":' + b"9" * 4000 + b"}]}"
    ),
    "one-line": lambda: b"x" * (8 * 2**20),
    "lines": lambda: b"x\n" * 2**20,
    "events": lambda: b'data: {"choices":[]}\n\n' * 50_000,
    "endless-event": lambda: b"data: x\n" * 2**20,
    "tags": lambda: b'data: {"choices":[{"delta":{"content":"' + b"<think" * 50_000 + b'"}}]}\n\n',
    "wav-of-chunks": lambda: b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 100_000,
}


@pytest.mark.parametrize("excess", EXCESS)
@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_survives_excess(name: str, excess: str) -> None:
    # The pieces of a body are as large as a first byte can make them.
    data = b"\xff" + EXCESS[excess]() if name in ("answer", "errors") or "body" in name else (
        EXCESS[excess]()
    )  # fmt: skip
    start = time.process_time()
    DECODERS[name](data)
    assert time.process_time() - start < BOUND


def test_a_tool_call_in_very_many_pieces_costs_no_more_than_its_length() -> None:
    call = {"index": 0, "function": {"name": "f", "arguments": "123456789"}}
    event = json.dumps({"choices": [{"delta": {"tool_calls": [call]}}]})
    start = time.process_time()
    DECODERS["answer"](b"\xff" + f"data: {event}\n\n".encode() * 200_000)
    assert time.process_time() - start < BOUND


@pytest.fixture
async def sandbox(http_context: None) -> AsyncIterator[Sandbox]:
    chat = Script(SAID, loop=True)
    async with Sandbox(transcriber="tones", synthesizer="tones", chat=chat) as sandbox:
        yield sandbox


@pytest.mark.parametrize("kind", ["text", "binary"])
@pytest.mark.parametrize(
    "use",
    [
        use
        for use in USES
        if use.name
        in ("whisper-stream", "qwen3-asr-stream", "orpheus-ws-stream", "qwen3-tts-stream")
    ],
    ids=lambda use: use.name,
)
async def test_a_frame_of_100_mib_is_refused(use: Use, kind: str, sandbox: Sandbox) -> None:
    payload: str | bytes = bytes(100 * 2**20) if kind == "binary" else "x" * (100 * 2**20)
    sandbox.faults.add(Fault(do="send", payload=payload), times=None)
    model = use.make(sandbox)
    with pytest.raises(APIError, match="too large") as caught:
        await asyncio.wait_for(use.run(model, CONN), BOUND)
    await model.aclose()
    assert not caught.value.retryable


ENDLESS = {
    "json": (b'{"audio":"', b"A" * 65536, "application/json"),
    "text": (b"Error: ", b"x" * 65536, "text/plain"),
    "one-event": (b'data: {"choices":"', b"x" * 65536, "text/event-stream"),
    "lines-of-an-event": (b"", b"data: 1\n" * 8192, "text/event-stream"),
    "header-of-wav": (b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\x7f", bytes(65536), "audio/wav"),
}


class Flood:
    """A server that answers whatever it is asked with a body that never ends."""

    api_key = "bt-secret-0123456789"

    def __init__(self, kind: str) -> None:
        self._head, self._more, self._type = ENDLESS[kind]
        self.port = 0
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {self._type}\r\n".encode())
            writer.write(b"Connection: close\r\n\r\n" + self._head)
            while True:
                writer.write(self._more)
                await writer.drain()
                self.sent += len(self._more)
        writer.close()

    def url(self, deployment: str, route: str) -> str:
        return f"http://127.0.0.1:{self.port}/model-{deployment}/environments/production/{route}"

    @property
    def stt_endpoint(self) -> str:
        return self.url("whisper1", "websocket").replace("http", "ws", 1)

    @property
    def llm_base_url(self) -> str:
        return self.url("llm1", "v1")


def most_memory() -> float:
    """Megabytes in use at most since the last call."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is asked of Linux")
@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize(
    "use",
    [
        use
        for use in USES
        if use.name in ("whisper-batch", "orpheus-http-synthesize", "generic-stream", "dedicated")
    ],
    ids=lambda use: use.name,
)
async def test_a_body_without_an_end_is_refused(use: Use, kind: str, http_context: None) -> None:
    flood = Flood(kind)
    server = await asyncio.start_server(flood.serve, "127.0.0.1", 0)
    flood.port = server.sockets[0].getsockname()[1]
    model = use.make(flood)  # type: ignore[arg-type]
    gc.collect()
    most_memory()
    before = most_memory()
    with pytest.raises(APIError):
        await asyncio.wait_for(use.run(model, CONN), BOUND)
    grown = most_memory() - before
    await model.aclose()
    server.close()
    await server.wait_closed()
    assert flood.sent <= 130 * 2**20
    assert grown < 400


class EndlessVoice:
    """A server that speaks for ever, over HTTP and over a WebSocket, as fast as it is heard."""

    api_key = "bt-secret-0123456789"

    def __init__(self) -> None:
        self.port = 0
        self.sent = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        piece = b"\1\0" * 24000
        with contextlib.suppress(ConnectionError):
            if request.method == "POST":
                body = web.StreamResponse(headers={"Content-Type": "audio/wav"})
                await body.prepare(request)
                while True:
                    await body.write(piece)
                    self.sent += 1
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.receive()
            if "qwen" in request.path:
                start = {"type": "audio.start", "sentence_index": 0, "sample_rate": 24000}
                await socket.send_json(start)
            while not socket.closed:
                await socket.send_bytes(piece)
                self.sent += 1
        return web.Response()

    def url(self, deployment: str, route: str) -> str:
        scheme = "ws" if route == "websocket" else "http"
        path = f"model-{deployment}/environments/production/{route}"
        return f"{scheme}://127.0.0.1:{self.port}/{path}"


@pytest.mark.parametrize("use", [u for u in USES if u.kind == "tts"], ids=lambda use: use.name)
async def test_speech_without_an_end_is_refused(
    use: Use, http_context: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("http_audio", "orpheus", "qwen3_tts"):
        # An hour would take its time.
        monkeypatch.setattr(f"livekit.plugins.baseten_tts.protocols.{module}.LONGEST", 60.0)
    voice = EndlessVoice()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", voice.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    voice.port = runner.addresses[0][1]
    model = use.make(voice)  # type: ignore[arg-type]
    with pytest.raises(APIError, match="more than 60 s of audio") as caught:
        await asyncio.wait_for(use.run(model, CONN), BOUND)
    assert not caught.value.retryable
    await model.aclose()
    await runner.cleanup()
    # What is on its way beside what was heard.
    assert voice.sent < 60 * 10
