from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import Deployment, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import ToneSynthesizer, read

CONFIG = {
    "type": "session.config",
    "voice": "ryan",
    "response_format": "pcm",
    "stream_audio": True,
}
DONE = {"type": "input.done"}


async def turn(ws: aiohttp.ClientWebSocketResponse) -> tuple[list[Any], bytes]:
    """All messages until the turn is done, and its audio."""
    messages, audio = [], b""
    while True:
        message = await ws.receive(timeout=10)
        if message.type is aiohttp.WSMsgType.BINARY:
            audio += message.data
            continue
        assert message.type is aiohttp.WSMsgType.TEXT, message
        messages.append(json.loads(message.data))
        if messages[-1]["type"] == "session.done":
            return messages, audio


def said(audio: bytes) -> str:
    return " ".join(word.text for word in read(audio, rate=24000))


async def test_deltas_are_split_into_sentences_and_every_word_is_spoken(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.qwen_tts_endpoint) as ws:
        await ws.send_json(CONFIG)
        for delta in ("Hel", "lo the", "re. How", " are you?", " Bye"):
            await ws.send_json({"type": "input.text", "text": delta})
        await ws.send_json(DONE)
        messages, audio = await turn(ws)
    assert said(audio) == "Hello there. How are you? Bye"
    assert [m["type"] for m in messages] == ["audio.start", "audio.done"] * 3 + ["session.done"]
    assert [m["sentence_text"] for m in messages if m["type"] == "audio.start"] == [
        "Hello there.",
        "How are you?",
        "Bye",
    ]
    assert all(m["sample_rate"] == 24000 for m in messages if m["type"] == "audio.start")
    assert sum(m["total_bytes"] for m in messages if m["type"] == "audio.done") == len(audio)
    assert messages[-1]["total_sentences"] == 3


async def test_a_reusable_session_takes_the_next_turn_and_an_empty_one(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.qwen_tts_endpoint) as ws:
        await ws.send_json(CONFIG)
        for text in ("one", "", "two"):
            if text:
                await ws.send_json({"type": "input.text", "text": text})
            await ws.send_json(DONE)
            messages, audio = await turn(ws)
            assert said(audio) == text
            assert messages[-1]["total_sentences"] == (1 if text else 0)
        await ws.send_json({"type": "session.close"})
        assert (await ws.receive(timeout=10)).data == 1000


async def test_a_one_shot_session_closes_after_its_turn(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.url("qwentts2", "websocket")) as ws:
        await ws.send_json(CONFIG)
        await ws.send_json({"type": "input.text", "text": "only once"})
        await ws.send_json(DONE)
        _, audio = await turn(ws)
        assert said(audio) == "only once"
        assert (await ws.receive(timeout=10)).data == 1000


@pytest.mark.parametrize("strategy", ["sync", "async"])
@pytest.mark.parametrize("convention", ["global", "sentence"])
async def test_word_times_follow_the_deployments_convention(
    client: aiohttp.ClientSession, convention: Any, strategy: str
) -> None:
    tts = Deployment(id="tts1", serves="qwen3-tts", word_times=convention)
    config = {**CONFIG, "timestamp_type": "word", "timestamp_transport_strategy": strategy}
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", deployments=[tts]) as sandbox,
        client.ws_connect(sandbox.qwen_tts_endpoint) as ws,
    ):
        await ws.send_json(config)
        await ws.send_json({"type": "input.text", "text": "One two. Three four."})
        await ws.send_json(DONE)
        messages, audio = await turn(ws)
    kind = "audio.done" if strategy == "sync" else "timestamps"
    infos = [m["timestamp_info"]["word_alignment"] for m in messages if m["type"] == kind]
    assert [info["words"] for info in infos] == [["One", "two."], ["Three", "four."]]
    shift = 0.0 if convention == "global" else 0.6
    heard = [(w.text, w.start, w.end) for w in read(audio, rate=24000)]
    told = [
        (word, start + n * shift, end + n * shift)
        for n, info in enumerate(infos)
        for word, start, end in zip(
            info["words"],
            info["word_start_times_seconds"],
            info["word_end_times_seconds"],
            strict=True,
        )
    ]
    assert [t[0] for t in told] == [h[0] for h in heard]
    for t, h in zip(told, heard, strict=True):
        assert t[1:] == pytest.approx(h[1:], abs=0.002)


async def test_word_times_without_an_aligner_end_the_session(
    client: aiohttp.ClientSession,
) -> None:
    tts = Deployment(id="tts1", serves="qwen3-tts", aligner=False)
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", deployments=[tts]) as sandbox,
        client.ws_connect(sandbox.qwen_tts_endpoint) as ws,
    ):
        await ws.send_json({**CONFIG, "timestamp_type": "word"})
        assert "ForcedAligner" in (await ws.receive_json(timeout=10))["message"]
        assert (await ws.receive(timeout=10)).data == 1000


@pytest.mark.parametrize(
    "wrong",
    [
        {"speed": 1.5},
        {"speed": 9, "stream_audio": False},
        {"response_format": "wav"},
        {"voice": 7},
        {"ref_audio": "x", "speaker_embedding": [0.1]},
        {"task_type": "Karaoke"},
    ],
)
async def test_a_bad_configuration_is_an_error_and_the_end(
    sandbox: Sandbox, client: aiohttp.ClientSession, wrong: dict[str, Any]
) -> None:
    async with client.ws_connect(sandbox.qwen_tts_endpoint) as ws:
        await ws.send_json({**CONFIG, **wrong})
        assert (await ws.receive_json(timeout=10))["message"].startswith("Invalid session config")
        assert (await ws.receive(timeout=10)).data == 1000


@pytest.mark.parametrize("closed", [False, True])
async def test_unknown_fields_are_ignored_or_fatal_as_deployed(
    client: aiohttp.ClientSession, closed: bool
) -> None:
    tts = Deployment(id="tts1", serves="qwen3-tts", closed_config=closed)
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", deployments=[tts]) as sandbox,
        client.ws_connect(sandbox.qwen_tts_endpoint) as ws,
    ):
        await ws.send_json({**CONFIG, "split_granularity": "clause"})
        await ws.send_json(DONE)
        message = await ws.receive_json(timeout=10)
        assert message["type"] == ("error" if closed else "session.done")


async def test_nonsense_is_an_error_that_the_session_survives(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.qwen_tts_endpoint) as ws:
        await ws.send_json(CONFIG)
        for wrong in ("{", "[]", '{"type": "sing"}', '{"type": "input.text", "text": 7}'):
            await ws.send_str(wrong)
            assert (await ws.receive_json(timeout=10))["type"] == "error"
        await ws.send_json({"type": "input.text", "text": "fine"})
        await ws.send_json(DONE)
        assert said((await turn(ws))[1]) == "fine"


class FailsOnce(ToneSynthesizer):
    def synthesize(self, text: str, *, voice: str | None) -> Iterator[np.ndarray]:
        if "boom" in text:
            raise RuntimeError("out of memory")
        yield from super().synthesize(text, voice=voice)


async def test_a_sentence_that_fails_is_reported_and_the_next_is_spoken(
    client: aiohttp.ClientSession,
) -> None:
    async with (
        Sandbox(transcriber="tones", synthesizer=FailsOnce()) as sandbox,
        client.ws_connect(sandbox.qwen_tts_endpoint) as ws,
    ):
        await ws.send_json(CONFIG)
        await ws.send_json({"type": "input.text", "text": "Go boom. Go on."})
        await ws.send_json(DONE)
        messages, audio = await turn(ws)
    assert said(audio) == "Go on."
    assert [m["error"] for m in messages if m["type"] == "audio.done"] == [True, False]
    assert "error" in [m["type"] for m in messages]


async def test_voices_are_added_listed_used_and_removed(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.qwen_tts_endpoint) as ws:

        async def ask(**message: Any) -> Any:
            await ws.send_json(message)
            return await ws.receive_json(timeout=10)

        assert (await ask(type="voice.add", name="Mia"))["message"].startswith("voice.add requires")
        audio = base64.b64encode(b"\0" * 2000).decode()
        added = await ask(
            type="voice.add", name="Mia", consent="c1", audio_data=audio, ref_text="hi"
        )
        assert added["success"] is True
        assert added["voice"]["file_size"] == 2000
        listed = await ask(type="voice.list")
        assert "mia" in listed["voices"]
        assert [v["name"] for v in listed["uploaded_voices"]] == ["Mia"]
        failed = await ask(type="voice.add", name="Bad", consent="c", audio_data="***")
        assert failed["success"] is False
        assert failed["error"]
        await ws.send_json({**CONFIG, "task_type": "Base", "voice": "Mia"})
        await ws.send_json({"type": "input.text", "text": "it is me"})
        await ws.send_json(DONE)
        assert said((await turn(ws))[1]) == "it is me"
        assert (await ask(type="voice.remove", name="Mia"))["success"] is True
        assert (await ask(type="voice.remove", name="Mia"))["success"] is False
        await ws.send_json({"type": "input.text", "text": "and now"})
        await ws.send_json(DONE)
        messages, audio_after = await turn(ws)
        assert audio_after == b""
        assert [m["error"] for m in messages if m["type"] == "audio.done"] == [True]


async def test_a_session_that_idles_is_ended_with_an_error(
    client: aiohttp.ClientSession,
) -> None:
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", idle_limit=0.05) as sandbox,
        client.ws_connect(sandbox.qwen_tts_endpoint) as ws,
    ):
        await ws.send_json(CONFIG)
        assert (await ws.receive_json(timeout=10))["message"].startswith("Idle timeout")
        assert (await ws.receive(timeout=10)).data == 1000


async def test_a_whole_wav_comes_when_it_is_not_streamed(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.qwen_tts_endpoint) as ws:
        await ws.send_json({"type": "session.config", "voice": "ryan"})
        await ws.send_json({"type": "input.text", "text": "in a file"})
        await ws.send_json(DONE)
        messages, audio = await turn(ws)
    assert audio.startswith(b"RIFF")
    assert "sample_rate" not in messages[0]
    assert said(audio[44:]) == "in a file"


async def test_the_first_message_must_configure_the_session(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.qwen_tts_endpoint) as ws:
        await ws.send_str("{")
        assert (await ws.receive_json(timeout=10))["message"] == "Invalid JSON message"
        await ws.send_json({"type": "input.text", "text": "too early"})
        message = (await ws.receive_json(timeout=10))["message"]
        assert message == "Expected session.config or voice.*, got: input.text"
        assert (await ws.receive(timeout=10)).data == 1000


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"type": "input.text", "text": "x" * 140_000}, "input.text message too large"),
        ({"type": "voice.add", "audio_data": "x" * 17_000_000}, "voice.add message too large"),
    ],
)
async def test_a_message_that_is_too_large_is_refused_and_the_session_goes_on(
    sandbox: Sandbox, client: aiohttp.ClientSession, message: dict[str, Any], says: str
) -> None:
    async with client.ws_connect(sandbox.qwen_tts_endpoint) as ws:
        await ws.send_json(CONFIG)
        await ws.send_json(message)
        assert await ws.receive_json(timeout=10) == {"type": "error", "message": says}
        await ws.send_json(DONE)
        assert (await turn(ws))[0][-1]["total_sentences"] == 0


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"voice": "nobody"}, "Invalid voice 'nobody'"),
        ({"voice": None, "task_type": "Base"}, "ref_audio"),
        ({"voice": None, "task_type": "VoiceDesign"}, "instructions"),
        ({"response_format": "mp3", "stream_audio": False}, "mp3"),
    ],
)
async def test_what_can_not_be_spoken_fails_sentence_by_sentence(
    sandbox: Sandbox, client: aiohttp.ClientSession, config: dict[str, Any], says: str
) -> None:
    async with client.ws_connect(sandbox.qwen_tts_endpoint) as ws:
        await ws.send_json({**CONFIG, **config})
        await ws.send_json({"type": "input.text", "text": "One. Two."})
        await ws.send_json(DONE)
        messages, audio = await turn(ws)
    errors = [m["message"] for m in messages if m["type"] == "error"]
    assert len(errors) == 2
    assert all(says in e for e in errors)
    assert [m["error"] for m in messages if m["type"] == "audio.done"] == [True, True]
    assert audio == b""


async def test_a_reusable_session_can_be_configured_anew_and_a_one_shot_one_can_not(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.qwen_tts_endpoint) as ws:
        await ws.send_json(CONFIG)
        await ws.send_json({**CONFIG, "stream_audio": False})
        await ws.send_json({"type": "input.text", "text": "changed"})
        await ws.send_json(DONE)
        messages, audio = await turn(ws)
        assert "sample_rate" not in messages[0]
        assert said(audio) == "changed"
    async with client.ws_connect(sandbox.url("qwentts2", "websocket")) as ws:
        await ws.send_json(CONFIG)
        await ws.send_json(CONFIG)
        assert (await ws.receive_json(timeout=10))["message"].startswith("Unknown message type")
