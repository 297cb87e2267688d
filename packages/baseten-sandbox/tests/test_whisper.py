from __future__ import annotations

import json
from typing import Any

import aiohttp
import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import Deployment, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak

METADATA: dict[str, Any] = {
    "whisper_params": {"audio_language": "en", "show_word_timestamps": True},
    "streaming_params": {
        "encoding": "pcm_s16le",
        "sample_rate": 16000,
        "enable_partial_transcripts": False,
        "partial_transcript_interval_s": 0.5,
        "final_transcript_max_duration_s": 30,
    },
    "streaming_vad_config": {
        "threshold": 0.5,
        "min_silence_duration_ms": 300,
        "speech_pad_ms": 30,
    },
}
MODEL_ERROR = "Internal Server Error (in model/chainlet)."


def frames(*parts: np.ndarray) -> list[bytes]:
    pcm = np.concatenate(parts).astype("<i2").tobytes()
    pcm += b"\0" * (-len(pcm) % 1024)
    return [pcm[at : at + 1024] for at in range(0, len(pcm), 1024)]


def metadata(**sections: dict[str, Any]) -> dict[str, Any]:
    merged = json.loads(json.dumps(METADATA))
    for section, values in sections.items():
        merged.setdefault(section, {}).update(values)
    return merged


async def next_json(ws: aiohttp.ClientWebSocketResponse) -> Any:
    return json.loads(await ws.receive_str(timeout=10))


async def until_finished(ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
    received = []
    while True:
        message = await next_json(ws)
        received.append(message)
        if message.get("body", {}).get("status") == "finished":
            return received


async def test_a_turn_ends_by_silence_and_the_words_have_their_times(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    speech, said = speak("turn the lights on please")
    lead = silence(0.5)
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json(METADATA)
        for frame in frames(lead, speech, silence(0.5)):
            await ws.send_bytes(frame)
        final = await next_json(ws)
    assert final["type"] == "transcription"
    assert final["is_final"] is True
    assert final["transcription_num"] == 1
    assert final["language_code"] == "en"
    (segment,) = final["segments"]
    assert segment["text"] == "turn the lights on please"
    assert [w["word"] for w in segment["word_timestamps"]] == [w.text for w in said]
    for heard, word in zip(segment["word_timestamps"], said, strict=True):
        assert heard["start_time"] == pytest.approx(0.5 + word.start, abs=0.002)
        assert heard["end_time"] == pytest.approx(0.5 + word.end, abs=0.002)


async def test_end_audio_is_acknowledged_flushed_and_finished_and_the_socket_stays(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json(METADATA)
        for frame in frames(speak("cut short")[0]):
            await ws.send_bytes(frame)
        await ws.send_json({"type": "end_audio", "trace_id": "t1"})
        acknowledged, final, finished = await until_finished(ws)
        assert acknowledged["body"] == {"status": "acknowledged"}
        assert acknowledged["trace_id"] == "t1"
        assert final["is_end_of_audio_flush"] is True
        assert final["segments"][0]["text"] == "cut short"
        assert finished == {"type": "end_audio", "body": {"status": "finished"}}
        await ws.send_json({"type": "health_check"})
        assert (await next_json(ws))["body"] == {"healthy": True}


async def test_end_audio_without_speech_gives_no_final(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json(METADATA)
        for frame in frames(silence(1.0)):
            await ws.send_bytes(frame)
        await ws.send_json({"type": "end_audio"})
        assert [m["body"]["status"] for m in await until_finished(ws)] == [
            "acknowledged",
            "finished",
        ]


@pytest.mark.parametrize(("silence_ms", "needed"), [(300, 11), (100, 5), (0, 1), (320, 11)])
async def test_a_turn_ends_at_exactly_the_frame_that_the_silence_asks_for(
    sandbox: Sandbox, client: aiohttp.ClientSession, silence_ms: int, needed: int
) -> None:
    speech = np.tile(speak(["hum"], gap=0.0)[0], 1)[: 512 * 6]
    config = metadata(streaming_vad_config={"min_silence_duration_ms": silence_ms})
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json(config)
        for frame in frames(speech, np.zeros(512 * (needed - 1), dtype=np.int16)):
            await ws.send_bytes(frame)
        # Answered in order, so a final would be in front of it.
        await ws.send_json({"type": "health_check"})
        assert (await next_json(ws))["type"] == "health_check"
        await ws.send_bytes(b"\0" * 1024)
        assert (await next_json(ws))["is_final"] is True


async def test_partials_come_by_interval_and_only_while_there_is_speech(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    config = metadata(streaming_params={"enable_partial_transcripts": True})
    words = "one two three four five six seven eight nine ten"
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json(config)
        for frame in frames(silence(2.0), speak(words)[0], silence(0.5)):
            await ws.send_bytes(frame)
        await ws.send_json({"type": "end_audio"})
        messages = [m for m in await until_finished(ws) if m["type"] == "transcription"]
    assert [m["is_final"] for m in messages] == [False] * (len(messages) - 1) + [True]
    assert 5 <= len(messages) - 1 <= 6
    partials = [m["segments"][0]["text"] for m in messages[:-1]]
    for text in partials:
        assert words.startswith(text)
    assert [len(t) for t in partials] == sorted(len(t) for t in partials)
    assert {m["transcription_num"] for m in messages[:-1]} == {0}
    assert messages[-1]["transcription_num"] == 1


async def test_a_long_turn_is_cut_and_goes_on_under_the_next_number(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    words = [f"w{i}" for i in range(12)]
    config = metadata(streaming_params={"final_transcript_max_duration_s": 2})
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json(config)
        for frame in frames(speak(words)[0], silence(0.5)):
            await ws.send_bytes(frame)
        await ws.send_json({"type": "end_audio"})
        finals = [m for m in await until_finished(ws) if m["type"] == "transcription"]
    assert [m["transcription_num"] for m in finals] == [1, 2]
    heard = " ".join(m["segments"][0]["text"] for m in finals).split()
    assert [w for w in heard if w in words] == words


@pytest.mark.parametrize(
    "first",
    [
        {"vad_params": {}, "streaming_whisper_params": {}},
        {"asr_options": {"beam_size": 1}},
        {"streaming_params": {"final_transcript_max_duration_s": 2.5}},
        {"streaming_params": {"sample_rate": "fast"}},
        {"streaming_params": {"new_key": 1}},
        {"streaming_vad_config": {"min_speech_duration_ms": 100}},
        {"whisper_params": {"whisper_sampling_params": {"beams": 2}}},
        ["not", "an", "object"],
    ],
)
async def test_metadata_that_the_runtime_does_not_know_closes_with_1011(
    sandbox: Sandbox, client: aiohttp.ClientSession, first: Any
) -> None:
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json(first)
        message = await ws.receive(timeout=10)
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert (message.data, message.extra) == (1011, MODEL_ERROR)


@pytest.mark.parametrize("key", ["show_word_timestamps", "streaming_vad_config"])
async def test_an_old_runtime_refuses_what_it_does_not_know_yet(
    client: aiohttp.ClientSession, key: str
) -> None:
    old = Deployment(id="old1", serves="whisper", unknown_keys=(key,))
    async with Sandbox(transcriber="tones", synthesizer="tones", deployments=[old]) as sandbox:
        async with client.ws_connect(sandbox.stt_endpoint) as ws:
            await ws.send_json(METADATA)
            assert (await ws.receive(timeout=10)).data == 1011
        async with client.ws_connect(sandbox.stt_endpoint) as ws:
            await ws.send_json({"whisper_params": {"audio_language": "en"}})
            await ws.send_json({"type": "health_check"})
            assert (await next_json(ws))["type"] == "health_check"


@pytest.mark.parametrize("first", [b"\0" * 1024, "{broken"])
async def test_audio_or_broken_json_in_place_of_metadata_closes_with_1011(
    sandbox: Sandbox, client: aiohttp.ClientSession, first: bytes | str
) -> None:
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        if isinstance(first, bytes):
            await ws.send_bytes(first)
        else:
            await ws.send_str(first)
        assert (await ws.receive(timeout=10)).data == 1011


@pytest.mark.parametrize("size", [0, 2, 1022, 1026, 2048, 3200])
async def test_a_frame_of_any_other_size_kills_the_session(
    sandbox: Sandbox, client: aiohttp.ClientSession, size: int
) -> None:
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json(METADATA)
        await ws.send_bytes(b"\0" * size)
        error = await next_json(ws)
        assert error["type"] == "error"
        assert error["body"]["error_type"] == "AUDIO_PROCESSING_ERROR"
        assert error["body"]["recoverable"] is False
        assert (await ws.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE


async def test_an_unknown_text_message_is_an_error_that_the_session_survives(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json(METADATA)
        await ws.send_json({"terminate_session": True})
        error = await next_json(ws)
        assert error["type"] == "error"
        assert error["body"]["recoverable"] is True
        for frame in frames(speak("still here")[0], silence(0.5)):
            await ws.send_bytes(frame)
        assert (await next_json(ws))["segments"][0]["text"] == "still here"


async def test_mulaw_frames_of_256_bytes_are_heard(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    speech = np.concatenate([speak("plain old telephone", rate=8000)[0], silence(0.5, rate=8000)])
    data = _mulaw(speech)
    data += b"\xff" * (-len(data) % 256)
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json(
            metadata(streaming_params={"encoding": "pcm_mulaw", "sample_rate": 8000})
        )
        for at in range(0, len(data), 256):
            await ws.send_bytes(data[at : at + 256])
        assert (await next_json(ws))["segments"][0]["text"] == "plain old telephone"


def _mulaw(pcm: np.ndarray) -> bytes:
    """G.711, straight from the standard's definition by search."""
    codes = np.arange(256)
    inverted = ~codes & 0xFF
    exponent, mantissa = (inverted >> 4) & 7, inverted & 15
    level = (((mantissa << 3) + 0x84) << exponent) - 0x84
    level = np.where(inverted & 0x80, -level, level)
    return bytes(np.abs(pcm[:, None].astype(int) - level[None, :]).argmin(axis=1).astype(np.uint8))
