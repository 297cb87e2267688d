"""Qwen3-TTS, on servers that keep a session and on those that don't."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from livekit.agents import APIConnectOptions, APIError, APITimeoutError, tokenize
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT
from livekit.agents.voice.io import TimedString
from livekit.plugins import baseten_tts
from livekit.plugins.baseten_common import timeout
from livekit.plugins.baseten_sandbox import BackgroundSandbox, Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import read
from livekit.plugins.baseten_tts import TTS
from livekit.plugins.baseten_tts.lines import Line
from livekit.plugins.baseten_tts.protocols.registry import DIALECTS
from livekit.plugins.baseten_tts.warm import WarmSockets

from .conftest import Listen, Make, heard, timed

ONCE = APIConnectOptions(max_retry=0, timeout=10.0)
AGAIN = APIConnectOptions(max_retry=3, retry_interval=0.01, timeout=10.0)
TEXT = "Hello there, my friend. This is a second sentence!  And, well: a third one?"
KINDS = pytest.mark.parametrize("deployment", ["qwentts1", "qwentts2"])
Qwen = Callable[..., TTS]


@pytest.fixture
def qwen(make: Make, sandbox: Sandbox) -> Qwen:
    def qwen(deployment: str = "qwentts1", **options: Any) -> TTS:
        options = {"voice": "vivian", "task_type": "CustomVoice", **options}
        return make(sandbox.url(deployment, "websocket"), model="qwen3-tts", **options)

    return qwen


async def settle(tts: TTS, number: int = 1) -> None:
    """Wait until so many sockets wait."""
    assert tts._sockets is not None
    sockets = tts._sockets
    async with timeout(10):
        while sockets.idle != number:
            busy = sockets._tasks | sockets._filling
            await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)


@KINDS
async def test_every_word_is_said_again_and_again(
    qwen: Qwen, listen: Listen, deployment: str
) -> None:
    tts = qwen(deployment)
    for _ in range(3):
        assert await listen(tts, TEXT[:20], TEXT[20:41], TEXT[41:]) == TEXT.split()
        frame = await tts.synthesize(TEXT, conn_options=ONCE).collect()
        assert heard(bytes(frame.data)) == TEXT.split()


async def test_a_session_is_used_again_where_the_server_keeps_it(
    qwen: Qwen, listen: Listen, sandbox: Sandbox
) -> None:
    tts = qwen()
    reused: list[bool] = []
    tts.on("metrics_collected", lambda m: reused.append(m.connection_reused))
    tts.prewarm()
    for _ in range(5):
        await settle(tts)
        await listen(tts, "Hello there.")
    assert reused == [True] * 5
    await settle(tts)
    assert tts._sockets is not None
    assert tts._sockets.one_shot is False
    assert max(json.dumps(s.received_json).count("input.done") for s in sandbox.sessions) > 1


async def test_a_server_of_one_utterance_is_learned(
    qwen: Qwen, listen: Listen, sandbox: Sandbox
) -> None:
    tts = qwen("qwentts2")
    errors: list[object] = []
    tts.on("error", errors.append)
    for _ in range(4):
        assert await listen(tts, "Hello there.", conn_options=ONCE) == ["Hello", "there."]
    assert errors == []
    assert tts._sockets is not None
    assert tts._sockets.one_shot is True


async def test_one_that_closes_a_moment_later_is_learned_too(
    qwen: Qwen, listen: Listen, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livekit.plugins.baseten_tts.warm._SOON", 30.0)
    tts = qwen()
    assert await listen(tts, "Hello there.") == ["Hello", "there."]
    assert tts._sockets is not None
    assert tts._sockets.one_shot is None
    await settle(tts, 2)  # the used one, on trial, and a fresh one
    await sandbox.strike(Fault(do="close", code=1000))
    await settle(tts, 1)
    assert tts._sockets.one_shot is True


async def test_the_configuration_goes_ahead_of_the_text_and_holds_only_what_is_set(
    qwen: Qwen, listen: Listen, sandbox: Sandbox
) -> None:
    tts = qwen()
    tts.prewarm()
    await sandbox.wait_message({"type": "session.config"})
    assert sandbox.sessions[0].received_json == [
        {
            "type": "session.config",
            "task_type": "CustomVoice",
            "response_format": "pcm",
            "stream_audio": True,
            "speed": 1.0,
            "voice": "vivian",
            "language": "Auto",
        }
    ]
    tts.update_options(voice="ryan", instructions="softly", max_new_tokens=500)
    # What waits is replaced before there is any text.
    await sandbox.wait_message({"type": "session.config", "voice": "ryan"})
    await listen(tts, "Hello there.")
    used = next(s for s in sandbox.sessions if len(s.received_json) > 1)
    config, text, done = used.received_json
    assert (config["voice"], config["instructions"]) == ("ryan", "softly")
    assert config["max_new_tokens"] == 500
    assert text == {"type": "input.text", "text": "Hello there."}
    assert done == {"type": "input.done"}


async def test_a_change_of_options_during_an_utterance_is_warm_for_the_next(
    qwen: Qwen, listen: Listen, sandbox: Sandbox
) -> None:
    tts = qwen()
    assert tts._sockets is not None
    tts._sockets.one_shot = False  # as one has learned, so that the socket is kept
    reused: list[bool] = []
    tts.on("metrics_collected", lambda m: reused.append(m.connection_reused))
    tts.prewarm()
    await settle(tts)
    older = tts.stream(conn_options=ONCE)
    async with tts.stream(conn_options=ONCE) as stream:
        stream.push_text("Hello there. And ")
        await anext(stream)
        tts.update_options(voice="ryan")
        await sandbox.wait_message({"type": "session.config", "voice": "ryan"})
        await settle(tts)
        stream.push_text("again.")
        stream.end_input()
        async for _ in stream:
            pass
    # One that was made before the change has the old voice, and takes nothing from the next.
    async with older:
        older.push_text("Me too.")
        older.end_input()
        async for _ in older:
            pass
    assert await listen(tts, "The next.") == ["The", "next."]
    assert reused == [True, False, True]
    configured = [s.received_json for s in sandbox.sessions if s.received_json]
    said = {messages[0]["voice"]: str(messages) for messages in configured if messages[1:]}
    assert "The next." in said["ryan"]
    assert "Me too." in said["vivian"]


async def test_options_that_stay_as_they_are_cost_no_socket(qwen: Qwen, sandbox: Sandbox) -> None:
    tts = qwen()
    tts.prewarm()
    await settle(tts)
    tts.update_options(voice="vivian", language="Auto")
    assert tts._sockets is not None
    assert tts._sockets.idle == 1
    tts.update_options(voice="ryan")
    await sandbox.wait_message({"type": "session.config", "voice": "ryan"})
    assert len(sandbox.sessions) == 2


async def test_a_socket_is_given_up_before_its_hour_is_over(
    qwen: Qwen, listen: Listen, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    tts = qwen()
    assert tts._sockets is not None
    tts._sockets.one_shot = False
    await listen(tts, "Hello there.")
    monkeypatch.setattr("livekit.plugins.baseten_tts.lines._OLDEST", -1.0)
    await listen(tts, "Hello again.")
    monkeypatch.undo()
    await settle(tts)
    assert await listen(tts, "And again.", conn_options=ONCE) == ["And", "again."]
    texts = [str(s.received_json).count("again.") for s in sandbox.sessions]
    assert max(texts) == 1


async def test_a_strict_server_accepts_all_options(
    qwen: Qwen, listen: Listen, sandbox: Sandbox, tmp_path: Path
) -> None:
    clip = tmp_path / "me.wav"
    clip.write_bytes(b"RIFF of my voice")
    strict = dataclasses.replace(sandbox.deployment("qwentts1"), closed_config=True)
    sandbox.deploy(strict)
    tts = qwen(
        voice="",
        task_type="Base",
        language="English",
        instructions="softly",
        max_new_tokens=500,
        initial_codec_chunk_frames=4,
        x_vector_only_mode=False,
        ref_audio=str(clip),
        ref_text="my voice",
        word_timestamps=True,
        extra_config={"model": "own"},
    )
    assert await listen(tts, "Hello there.") == ["Hello", "there."]
    (used,) = [s for s in sandbox.sessions if len(s.received_json) > 1]
    config = used.received_json[0]
    assert base64.b64decode(config["ref_audio"]) == clip.read_bytes()
    assert config["ref_text"] == "my voice"
    assert config["model"] == "own"


@KINDS
async def test_words_come_with_their_times_and_the_texts_own_spaces(
    qwen: Qwen, deployment: str
) -> None:
    tts = qwen(deployment, word_timestamps=True)
    assert tts.capabilities.aligned_transcript
    async with tts.stream() as stream:
        stream.push_text(TEXT)
        stream.end_input()
        events = [event async for event in stream]
    spoken: list[TimedString] = []
    for event in events:
        spoken += event.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])
    assert "".join(spoken) == TEXT
    assert len(spoken) == len(TEXT.split())
    truth = read(b"".join(bytes(event.frame.data) for event in events), rate=24000)
    assert [piece.start_time for piece in spoken] == pytest.approx(
        [word.start for word in truth], abs=0.02
    )


async def test_sentences_of_a_tokenizer_keep_the_space_between_them(qwen: Qwen) -> None:
    tokenizer = tokenize.basic.SentenceTokenizer(min_sentence_len=5)
    tts = qwen(word_timestamps=True, tokenizer=tokenizer)
    text = "This is the first. And this is the second! … Bye now."
    pieces = await timed(tts, text)
    assert "".join(pieces) == text
    starts = [piece.start_time for piece in pieces]
    assert starts == sorted(starts)


async def test_without_an_aligner_the_servers_words_reach_the_user(
    qwen: Qwen, listen: Listen, sandbox: Sandbox
) -> None:
    sandbox.deploy(dataclasses.replace(sandbox.deployment("qwentts1"), aligner=False))
    with pytest.raises(APIError, match="FORCED_ALIGNER_MODEL"):
        await listen(qwen(word_timestamps=True), "Hello.", conn_options=ONCE)


async def test_an_unknown_voice_is_final(qwen: Qwen, listen: Listen, sandbox: Sandbox) -> None:
    tts = qwen(voice="nobody", warm_sockets=0)
    with pytest.raises(APIError, match="Invalid voice 'nobody'") as caught:
        await listen(tts, "Hello there.", conn_options=AGAIN)
    assert not caught.value.retryable
    assert len(sandbox.sessions) == 1


DONE = {"type": "audio.done"}
FAULTS = [
    Fault(do="replace", on="send", match=DONE, after=1, payload={**DONE, "error": True}),
    Fault(do="replace", on="send", match=DONE, after=1, payload={**DONE, "total_bytes": 10**9}),
    Fault(do="drop", on="send", kind="binary", after=3),
    Fault(do="close", on="send", match=DONE, after=1, code=1000),
    Fault(do="close", on="send", match={"type": "session.done"}, code=1000),
    Fault(do="send", on="send", match=DONE, after=1, payload={"type": "error", "message": "oh"}),
    Fault(do="send", on="send", match=DONE, after=1, payload="not json"),
    Fault(do="send", on="send", match=DONE, after=1, payload={"type": "session.done"}),
    Fault(
        do="replace",
        on="send",
        match={"type": "session.done"},
        payload={"type": "session.done", "total_sentences": 9},
    ),
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_hole_in_the_speech_is_an_error(qwen: Qwen, sandbox: Sandbox, fault: Fault) -> None:
    sandbox.faults.add(fault)
    tts = qwen(warm_sockets=0)
    audio = b""
    with pytest.raises(APIError) as caught:
        async with tts.stream(conn_options=AGAIN) as stream:
            stream.push_text(TEXT)
            stream.end_input()
            async for event in stream:
                audio += bytes(event.frame.data)
    assert not caught.value.retryable
    assert heard(audio)[0] == "Hello"
    assert len(sandbox.sessions) == 1


@pytest.mark.parametrize("kind", ["audio.start", "audio.done", "session.done"])
async def test_silence_while_an_answer_is_due_times_out(
    qwen: Qwen, listen: Listen, sandbox: Sandbox, kind: str
) -> None:
    sandbox.faults.add(Fault(do="mute", on="send", match={"type": kind}), times=None)
    hasty = APIConnectOptions(max_retry=0, timeout=0.3)
    with pytest.raises(APITimeoutError):
        await listen(qwen(warm_sockets=0), "Hello there.", conn_options=hasty)


async def test_another_rate_is_honoured(qwen: Qwen, listen: Listen, sandbox: Sandbox) -> None:
    start = {"type": "audio.start"}
    sandbox.faults.add(
        Fault(do="replace", on="send", match=start, payload={**start, "sample_rate": 48000})
    )
    tts = qwen(warm_sockets=0)
    frame = await tts.synthesize("Hello there my friend.").collect()
    assert frame.sample_rate == 24000
    assert frame.duration == pytest.approx(4 * 0.3 / 2, abs=0.05)


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    dialect = DIALECTS["qwen3-tts"]
    assert dialect.keep_alive is not None
    often = dataclasses.replace(dialect.keep_alive, interval=0.2)
    monkeypatch.setitem(DIALECTS, "qwen3-tts", dataclasses.replace(dialect, keep_alive=often))


async def test_an_idle_session_is_kept_alive(http_context: None, hurry: None) -> None:
    async with Sandbox(transcriber="tones", synthesizer="tones", idle_limit=2.0) as sandbox:
        tts = TTS(
            api_key=sandbox.api_key,
            model="qwen3-tts",
            model_endpoint=sandbox.qwen_tts_endpoint,
            voice="vivian",
        )
        tts.prewarm()
        # Twelve signs of life take longer than the server lets a session idle.
        await sandbox.wait_message({"type": "session.done"}, direction="sent", count=12)
        assert len(sandbox.sessions) == 1
        frame = await tts.synthesize("Still here.", conn_options=ONCE).collect()
        assert heard(bytes(frame.data)) == ["Still", "here."]
        assert sandbox.sessions[0].received_json[-2]["text"] == "Still here."
        await tts.aclose()


async def test_an_idle_session_that_gives_no_sign_of_life_is_replaced(
    qwen: Qwen, listen: Listen, sandbox: Sandbox, hurry: None
) -> None:
    sandbox.faults.add(Fault(do="mute"))
    tts = qwen()
    tts.prewarm()
    mute, replacement = await sandbox.wait_sessions(2)
    await sandbox.wait_for(lambda: mute.closed)
    assert mute.closed_by == "client"
    assert await listen(tts, "Hello.", conn_options=ONCE) == ["Hello."]
    assert any(message.get("text") == "Hello." for message in replacement.received_json)


@KINDS
async def test_a_text_that_pauses_is_waited_for(
    http_context: None, monkeypatch: pytest.MonkeyPatch, deployment: str
) -> None:
    monkeypatch.setattr("livekit.plugins.baseten_tts.utterance._PAUSE", 0.15)
    async with Sandbox(transcriber="tones", synthesizer="tones", idle_limit=2.0) as sandbox:
        tts = TTS(
            api_key=sandbox.api_key,
            model="qwen3-tts",
            model_endpoint=sandbox.url(deployment, "websocket"),
            voice="vivian",
            warm_sockets=0,
        )
        # The pause is longer than any answer may take.
        quick = APIConnectOptions(max_retry=0, timeout=1.5)
        async with tts.stream(conn_options=quick) as stream:
            stream.push_text("Let me see. ")
            # Fifteen of them take longer than the server waits for a message.
            await sandbox.wait_message({"type": "input.text", "text": ""}, count=15)
            stream.push_text("There it is.")
            stream.end_input()
            said = heard([bytes(event.frame.data) async for event in stream])
        assert said == ["Let", "me", "see.", "There", "it", "is."]
        await tts.aclose()


async def test_one_that_is_dead_as_soon_as_it_is_open_is_replaced(
    qwen: Qwen, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial = WarmSockets.dial

    async def late(sockets: WarmSockets, prelude: str, **options: Any) -> Line:
        line = await dial(sockets, prelude, **options)
        if len(sandbox.sessions) == 1:
            await line.ws.wait_closed()  # the close came before anybody could look
        return line

    monkeypatch.setattr(WarmSockets, "dial", late)
    sandbox.faults.add(Fault(do="close", code=1013, on="receive"))
    tts = qwen()
    tts.prewarm()
    await sandbox.wait_sessions(2)
    await settle(tts)


async def test_a_server_that_takes_a_sign_of_life_for_an_utterance_is_left_in_peace(
    qwen: Qwen, listen: Listen, sandbox: Sandbox, hurry: None
) -> None:
    tts = qwen("qwentts2")
    tts.prewarm()
    await sandbox.wait_sessions(2)
    await settle(tts)
    assert tts._sockets is not None
    assert tts._sockets.one_shot is True
    assert await listen(tts, "Hello.", conn_options=ONCE) == ["Hello."]


async def test_an_utterance_can_begin_while_a_sign_of_life_is_unanswered(
    qwen: Qwen, listen: Listen, sandbox: Sandbox, hurry: None
) -> None:
    slow = Fault(do="delay", seconds=0.1, on="send", match={"type": "session.done"})
    sandbox.faults.add(slow)
    tts = qwen()
    tts.prewarm()
    await sandbox.wait_message({"type": "input.done"})
    assert await listen(tts, "Hello there.", conn_options=ONCE) == ["Hello", "there."]
    assert sandbox.sessions[0].received_json[-2]["text"] == "Hello there."


async def test_one_that_ends_by_a_sign_of_life_is_replaced_under_the_text(
    qwen: Qwen, listen: Listen, sandbox: Sandbox, hurry: None
) -> None:
    slow = Fault(do="delay", seconds=0.3, on="send", match={"type": "session.done"})
    sandbox.faults.add(slow)
    tts = qwen("qwentts2")
    errors: list[object] = []
    tts.on("error", errors.append)
    tts.prewarm()
    await sandbox.wait_message({"type": "input.done"})
    assert await listen(tts, "Hello there.", conn_options=AGAIN) == ["Hello", "there."]
    assert errors == []


@pytest.mark.parametrize("letter", ["字", "😀"])
async def test_a_long_text_of_any_script_fits_into_the_servers_messages(
    qwen: Qwen, sandbox: Sandbox, letter: str
) -> None:
    async with qwen(warm_sockets=0).stream(conn_options=ONCE) as stream:
        stream.push_text("Hi. " + (letter * 99 + "。") * 250)
        stream.end_input()
        await anext(stream)
        await sandbox.wait_message({"type": "input.done"})
        assert max(map(len, sandbox.sessions[0].received_texts)) <= 128 * 2**10


async def test_voices_are_registered_listed_used_and_removed(
    qwen: Qwen, listen: Listen, sandbox: Sandbox, tmp_path: Path
) -> None:
    clip = tmp_path / "me.wav"
    clip.write_bytes(b"RIFF of my voice")
    here: dict[str, Any] = {
        "model_endpoint": sandbox.qwen_tts_endpoint,
        "api_key": sandbox.api_key,
    }
    voice = await baseten_tts.register_voice(
        **here, name="me", ref_audio_path=str(clip), ref_text="my voice"
    )
    assert voice["name"] == "me"
    assert voice["ref_text"] == "my voice"
    voices = await baseten_tts.list_voices(**here)
    assert [v["name"] for v in voices["uploaded_voices"]] == ["me"]
    assert await listen(qwen(voice="me", warm_sockets=0), "Hello.") == ["Hello."]
    await baseten_tts.remove_voice(**here, name="me")
    with pytest.raises(APIError, match="'me' not found"):
        await baseten_tts.remove_voice(**here, name="me")
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)


async def test_managing_voices_has_bounds_and_clear_errors(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    here: dict[str, Any] = {"model_endpoint": sandbox.qwen_tts_endpoint}
    with pytest.raises(ValueError, match="BASETEN_API_KEY"):
        await baseten_tts.list_voices(**here)
    with pytest.raises(ValueError, match="model_endpoint"):
        await baseten_tts.list_voices(api_key="k")
    with pytest.raises(ValueError, match="blank"):
        await baseten_tts.remove_voice(**here, api_key="k", name=" ")
    with pytest.raises(ValueError, match="neither"):
        await baseten_tts.register_voice(
            **here, api_key="k", name="me", ref_audio_path=str(tmp_path / "none.wav")
        )
    with pytest.raises(ValueError, match="names a file"):
        await baseten_tts.register_voice(
            **here, api_key="k", name="me", ref_audio_path="https://example.com/me.wav"
        )
    with pytest.raises(APIError, match="401"):
        await baseten_tts.list_voices(**here, api_key="wrong")
    sandbox.faults.add(Fault(do="mute"))
    with pytest.raises(APITimeoutError):
        await baseten_tts.list_voices(**here, api_key=sandbox.api_key, timeout=0.3)
    sandbox.faults.add(Fault(do="park"))
    with pytest.raises(APITimeoutError):
        await baseten_tts.list_voices(**here, api_key=sandbox.api_key, timeout=0.3)
    sandbox.faults.add(Fault(do="close", code=1011, on="receive"))
    with pytest.raises(APIError, match="1011"):
        await baseten_tts.list_voices(**here, api_key=sandbox.api_key)
    sandbox.faults.add(Fault(do="send", payload="not json"))
    with pytest.raises(APIError, match="isn't JSON"):
        await baseten_tts.list_voices(**here, api_key=sandbox.api_key)
    sandbox.faults.add(Fault(do="send", payload={"type": "error", "message": "no such thing"}))
    with pytest.raises(APIError, match="no such thing"):
        await baseten_tts.list_voices(**here, api_key=sandbox.api_key)


async def test_managing_voices_takes_no_longer_for_a_server_that_doesn_t_say_goodbye(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    goodbyes: list[object] = []

    async def close(ws: object, **_: object) -> None:
        goodbyes.append(ws)

    monkeypatch.setattr("livekit.plugins.baseten_common.WebSocket.close", close)
    sandbox.faults.add(Fault(do="mute"))
    with pytest.raises(APITimeoutError):
        await baseten_tts.list_voices(
            model_endpoint=sandbox.qwen_tts_endpoint, api_key=sandbox.api_key, timeout=0.3
        )
    assert goodbyes == []
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert session.closed_by == "client"


def test_voices_are_managed_from_a_script_too() -> None:
    with BackgroundSandbox(transcriber="tones", synthesizer="tones") as sandbox:
        asking = baseten_tts.list_voices(
            model_endpoint=sandbox.qwen_tts_endpoint, api_key=sandbox.api_key
        )
        # A context of its own, without the HTTP session of the other tests.
        voices = contextvars.Context().run(asyncio.run, asking)
    assert "vivian" in voices["voices"]


async def test_a_clip_that_is_gone_is_told_once(
    qwen: Qwen, listen: Listen, sandbox: Sandbox, tmp_path: Path
) -> None:
    clip = tmp_path / "me.wav"
    clip.write_bytes(b"RIFF of my voice")
    tts = qwen(voice="", task_type="Base", ref_audio=str(clip), warm_sockets=0)
    clip.unlink()
    with pytest.raises(APIError, match="ref_audio can't be read") as caught:
        await listen(tts, "Hello.", conn_options=AGAIN)
    assert not caught.value.retryable
    assert sandbox.sessions == []
    clip.write_bytes(b"RIFF of my new voice")
    tts.update_options(ref_audio=str(clip))
    assert await listen(tts, "Hello.", conn_options=AGAIN) == ["Hello."]
    clip.write_bytes(b"RIFF of my other voice")
    tts.update_options(ref_audio=str(clip))
    await listen(tts, "Hello.", conn_options=AGAIN)
    sent = [base64.b64decode(s.received_json[0]["ref_audio"]) for s in sandbox.sessions]
    assert sent == [b"RIFF of my new voice", b"RIFF of my other voice"]


async def test_a_clip_is_read_off_the_event_loop(
    qwen: Qwen, listen: Listen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clip = tmp_path / "me.wav"
    clip.write_bytes(b"RIFF of my voice")
    readers: list[threading.Thread] = []

    def note(*args: Any) -> Any:
        readers.append(threading.current_thread())
        return open(*args)

    monkeypatch.setattr("livekit.plugins.baseten_tts.session.open", note, raising=False)
    tts = qwen(voice="", task_type="Base", ref_audio=str(clip), warm_sockets=0)
    for _ in range(2):
        assert await listen(tts, "Hello.", conn_options=ONCE) == ["Hello."]
    (reader,) = readers  # once for all utterances
    assert reader is not threading.current_thread()


@pytest.mark.parametrize("warmed", [True, False])
async def test_a_server_that_takes_no_configuration_ends_at_the_timeout(
    qwen: Qwen, listen: Listen, sandbox: Sandbox, tmp_path: Path, warmed: bool
) -> None:
    clip = tmp_path / "me.wav"
    clip.write_bytes(bytes(3 * 2**20))  # more than the buffers on the way hold
    sandbox.faults.add(Fault(do="silence"), times=None)
    tts = qwen(voice="", task_type="Base", ref_audio=str(clip), warm_sockets=int(warmed))
    if warmed:
        tts.prewarm()
        await sandbox.wait_sessions(1)
    hasty = APIConnectOptions(max_retry=0, timeout=0.5)
    # Long before a ping that isn't answered would tell.
    with pytest.raises(APITimeoutError):
        await asyncio.wait_for(listen(tts, "Hello.", conn_options=hasty), 8)
    async with timeout(2):
        await tts.aclose()


async def test_too_large_a_clip_is_refused_at_once(tmp_path: Path) -> None:
    clip = tmp_path / "me.wav"
    clip.write_bytes(bytes(3 * 2**20 + 1))
    with pytest.raises(ValueError, match="must have"):
        TTS(api_key="k", model="qwen3-tts", model_id="abcd", ref_audio=str(clip))


async def test_a_json_model_is_spoken_through(make: Make, listen: Listen, sandbox: Sandbox) -> None:
    tts = make(sandbox.url("kokoro1", "predict"), model="generic", voice="af_heart")
    tts.update_options(extra_body={"speed": 1.1})
    assert await listen(tts, TEXT) == TEXT.split()
    assert sandbox.sessions[0].received_json[0] == {
        "speed": 1.1,
        "voice": "af_heart",
        "text": "Hello there, my friend.",
    }


async def test_text_that_is_there_goes_out_as_one_message(
    qwen: Qwen, listen: Listen, sandbox: Sandbox
) -> None:
    assert await listen(qwen(), "all ", "of ", "it ", "now") == ["all", "of", "it", "now"]
    (session,) = [s for s in sandbox.sessions if any("input.text" in t for t in s.received_texts)]
    messages = [json.loads(text) for text in session.received_texts]
    assert [m["text"] for m in messages if m["type"] == "input.text"] == ["all of it now"]
