from __future__ import annotations

import base64
import json
from typing import Any

import aiohttp
import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import Deployment, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak

CONFIG = {
    "whisper_params": {"audio_language": "English", "show_word_timestamps": True},
    "streaming_params": {"enable_partial_transcripts": False},
}
COMMIT = {"type": "input_audio_buffer.commit"}


def appends(*parts: np.ndarray, size: int = 3200) -> list[dict[str, str]]:
    pcm = np.concatenate(parts).astype("<i2").tobytes()
    return [
        {
            "type": "input_audio_buffer.append",
            "audio": base64.b64encode(pcm[at : at + size]).decode(),
        }
        for at in range(0, len(pcm), size)
    ]


async def next_json(ws: aiohttp.ClientWebSocketResponse) -> Any:
    return json.loads(await ws.receive_str(timeout=10))


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_commit_ends_the_utterance_and_a_new_one_may_follow(
    sandbox: Sandbox, client: aiohttp.ClientSession, wrapped: bool
) -> None:
    config = {"type": "transcription_session.update", "session": CONFIG} if wrapped else CONFIG
    async with client.ws_connect(sandbox.qwen_stt_endpoint) as ws:
        await ws.send_json(config)
        for words in ("first things", "second things"):
            for message in appends(speak(words)[0]):
                await ws.send_json(message)
            await ws.send_json(COMMIT)
            final = await next_json(ws)
            assert final["is_final"] is True
            assert final["is_end_of_audio_flush"] is True
            assert final["language_code"] == "English"
            assert final["segments"][0]["text"] == words
            assert len(final["segments"][0]["word_timestamps"]) == 2


async def test_the_configuration_may_be_left_out_and_partials_come(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.qwen_stt_endpoint) as ws:
        for message in appends(speak("a b c d e f")[0], silence(0.7)):
            await ws.send_json(message)
        messages = [await next_json(ws)]
        while not messages[-1]["is_final"]:
            messages.append(await next_json(ws))
    assert len(messages) > 1
    assert "is_end_of_audio_flush" not in messages[-1]
    assert "word_timestamps" not in messages[-1]["segments"][0]
    assert messages[-1]["segments"][0]["text"] == "a b c d e f"


async def test_a_commit_of_nothing_gives_an_empty_final(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.qwen_stt_endpoint) as ws:
        await ws.send_json({**CONFIG, "unknown": {"is": "ignored"}})
        await ws.send_json(COMMIT)
        final = await next_json(ws)
        assert final["is_final"] is True
        assert final["is_end_of_audio_flush"] is True
        assert final["segments"][0]["text"] == ""


@pytest.mark.parametrize(
    "wrong",
    [
        b"\0" * 1024,
        "{broken",
        json.dumps([1]),
        json.dumps({"type": "input_audio_buffer.append", "audio": "***"}),
        json.dumps({"type": "end_audio"}),
    ],
)
async def test_what_it_does_not_understand_is_an_error_that_the_session_survives(
    sandbox: Sandbox, client: aiohttp.ClientSession, wrong: str | bytes
) -> None:
    async with client.ws_connect(sandbox.qwen_stt_endpoint) as ws:
        await ws.send_json(CONFIG)
        await (ws.send_bytes(wrong) if isinstance(wrong, bytes) else ws.send_str(wrong))
        assert (await next_json(ws))["type"] == "error"
        for message in appends(speak("still here")[0]):
            await ws.send_json(message)
        await ws.send_json(COMMIT)
        assert (await next_json(ws))["segments"][0]["text"] == "still here"


async def test_without_an_aligner_word_times_are_left_out_in_silence(
    client: aiohttp.ClientSession,
) -> None:
    bare = Deployment(id="asr1", serves="qwen3-asr", aligner=False)
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", deployments=[bare]) as sandbox,
        client.ws_connect(sandbox.qwen_stt_endpoint) as ws,
    ):
        await ws.send_json(CONFIG)
        for message in appends(speak("hello")[0]):
            await ws.send_json(message)
        await ws.send_json(COMMIT)
        assert "word_timestamps" not in (await next_json(ws))["segments"][0]
