from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines import Transcript
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak
from livekit.plugins.baseten_sandbox.recording import load_recordings


class NoModel:
    """Fails when it is used: a replay must not need a model."""

    def load(self) -> None:
        raise AssertionError

    def transcribe(self, pcm: Any, *, language: Any, word_times: bool) -> Transcript:
        raise AssertionError

    def synthesize(self, text: str, *, voice: Any) -> Any:
        raise AssertionError


async def talk(client: aiohttp.ClientSession, sandbox: Sandbox) -> list[Any]:
    """One session over Whisper, and what came back."""
    pcm = speak("write it down")[0].tobytes() + silence(0.5).tobytes()
    pcm += b"\0" * (-len(pcm) % 1024)
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json({"whisper_params": {"show_word_timestamps": True}})
        for at in range(0, len(pcm), 1024):
            await ws.send_bytes(pcm[at : at + 1024])
        final = await ws.receive_json(timeout=10)
        await ws.send_json({"type": "end_audio"})
        return [final, await ws.receive_json(timeout=10), await ws.receive_json(timeout=10)]


@pytest.mark.parametrize("pace", ["order", "time"])
async def test_a_recorded_server_side_plays_again_without_models(
    client: aiohttp.ClientSession, tmp_path: Path, pace: Any
) -> None:
    path = tmp_path / "sessions.jsonl"
    async with Sandbox(transcriber="tones", synthesizer="tones", record=path) as sandbox:
        live = await talk(client, sandbox)
        async with client.post(sandbox.tts_endpoint, json={"prompt": "hi there"}) as answer:
            audio = await answer.read()
        sandbox.faults.add(Fault(do="close", code=1013, reason="busy"))
        async with client.ws_connect(sandbox.tts_websocket_endpoint) as ws:
            await ws.receive(timeout=10)
        await sandbox.wait_sessions(3, closed=True)
    assert sandbox.api_key not in path.read_text()
    model = NoModel()
    async with Sandbox(
        transcriber=model, synthesizer=model, replay=path, replay_pace=pace
    ) as sandbox:
        for _ in range(2):
            assert await talk(client, sandbox) == live
        async with client.post(sandbox.tts_endpoint, json={"prompt": "hi there"}) as answer:
            assert await answer.read() == audio
        async with client.ws_connect(sandbox.tts_websocket_endpoint) as ws:
            message = await ws.receive(timeout=10)
            assert (message.data, message.extra) == (1013, "busy")


def test_each_line_tells_its_session_direction_and_time(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    lines = [
        {"session": "a", "event": "open", "transport": "websocket", "deployment": "w1"},
        {"session": "a", "event": "received", "at": 0.1, "text": "{}"},
        {"session": "a", "event": "sent", "at": 0.2, "base64": "AAE="},
        {"session": "a", "event": "close", "code": 1011},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    (recording,) = load_recordings(path)
    assert [(m.direction, m.at, m.data) for m in recording.messages] == [
        ("received", 0.1, "{}"),
        ("sent", 0.2, b"\x00\x01"),
    ]
    assert recording.close_code == 1011


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        '{"session": 0, "event": "sent", "text": "x"}',
        '{"session": 0, "event": "sung"}',
        '{"event": "open"}',
    ],
)
def test_what_is_not_a_recording_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"session": 1, "event": "open", "transport": "http"}\n' + line)
    with pytest.raises(ValueError, match="line 2: not a recording"):
        load_recordings(path)
