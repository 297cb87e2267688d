"""What is said arrives at the server whole and is heard whole."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livekit.agents import APIConnectOptions, metrics, tokenize, tts as agents_tts
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT
from livekit.plugins.baseten_common import timeout
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_tts import TTS

from .conftest import Listen, Make, heard
from .test_wav import wav

BOTH = pytest.mark.parametrize("over", ["http", "websocket"])
TEXT = "Hello there. This is a longer sentence, which doesn't end before its twentieth word or so it seems to me. Bye!"


@BOTH
async def test_synthesize_says_every_word(make: Make, over: str) -> None:
    frame = await make(over).synthesize(TEXT).collect()
    assert heard(bytes(frame.data)) == TEXT.split()
    assert (frame.sample_rate, frame.num_channels) == (24000, 1)


@BOTH
async def test_stream_says_every_word_of_any_deltas(make: Make, listen: Listen, over: str) -> None:
    pieces = [TEXT[i : i + 3] for i in range(0, len(TEXT), 3)]
    assert await listen(make(over), *pieces) == TEXT.split()
    assert await listen(make(over), TEXT) == TEXT.split()


async def test_orpheus_gets_one_word_a_frame(make: Make, listen: Listen, sandbox: Sandbox) -> None:
    tts = make(temperature=0.3, max_tokens=999, buffer_size=7, voice="leo", warm_sockets=0)
    await listen(tts, " un", "believ", "able", ", isn", "'t", " it?")
    (session,) = await sandbox.wait_sessions(1, closed=True)
    settings, *words = session.received_texts
    assert json.loads(settings) == {
        "voice": "leo",
        "max_tokens": 999,
        "temperature": 0.3,
        "buffer_size": 7,
    }
    assert words == ["unbelievable,", "isn't", "it?", "__END__"]


async def test_all_options_are_sent_over_both(make: Make, listen: Listen, sandbox: Sandbox) -> None:
    options = {"top_p": 0.9, "repetition_penalty": 1.2}
    await listen(make("websocket", **options, warm_sockets=0), "Hi there.")
    await listen(make("http", **options, max_chunk_size=200), "Hi there.")
    over_websocket, over_http = await sandbox.wait_sessions(2, closed=True)
    assert over_websocket.received_json[0]["top_p"] == 0.9
    assert over_websocket.received_json[0]["repetition_penalty"] == 1.2
    assert over_http.received_json[0] == {
        "prompt": "Hi there.",
        "voice": "tara",
        "max_tokens": 2000,
        "temperature": 0.6,
        "max_chunk_size": 200,
        **options,
    }


@pytest.mark.parametrize("scheme", ["Bearer", "Api-Key"])
@BOTH
async def test_the_key_goes_into_the_header(
    make: Make, listen: Listen, sandbox: Sandbox, over: str, scheme: str
) -> None:
    await listen(make(over, auth_scheme=scheme), "Hi there.")
    assert {(s.scheme, s.authorized) for s in sandbox.sessions} == {(scheme, True)}


async def test_the_end_marker_as_text_ends_nothing(make: Make, listen: Listen) -> None:
    assert await listen(make(), "say __END__ and go on") == ["say", "END", "and", "go", "on"]
    assert await listen(make(), "__EN", "D__") == ["END"]
    assert await listen(make(), "Say “__E", "ND__”, or __END__. And ", "__END__!") == [
        *("Say", "“__END__”,", "or", "__END__.", "And", "__END__!"),
    ]
    assert await listen(make("http"), "say __END__ and go on") == [
        *("say", "__END__", "and", "go", "on"),
    ]


@BOTH
async def test_an_empty_turn_dials_nothing(
    make: Make, listen: Listen, sandbox: Sandbox, over: str
) -> None:
    tts = make(over)
    assert await listen(tts) == []
    assert await listen(tts, "  ", "\n") == []
    assert await listen(tts, " … ", "— 🙂") == []
    async with tts.synthesize(" ...") as chunked:
        assert heard([bytes(event.frame.data) async for event in chunked]) == []
    assert sandbox.sessions == []


@BOTH
async def test_model_and_chain_ids_with_all_their_targets(
    sandbox: Sandbox, over: str, http_context: None
) -> None:
    tts = TTS(api_key="k", model_id="abcd1234", environment="staging", transport=over)  # type: ignore[arg-type]
    assert (tts._sockets is not None) == (over == "websocket")
    for ids in ({"model_id": "abcd"}, {"chain_id": "abcd"}):
        assert TTS(api_key="k", **ids)._sockets is None  # type: ignore[arg-type]


async def test_a_flush_ends_the_utterance(make: Make, sandbox: Sandbox) -> None:
    async with make().stream() as stream:
        stream.flush()
        stream.push_text("Good morning")
        stream.flush()
        # Its input never ends, as when a user forgets to.
        assert heard([bytes(e.frame.data) async for e in stream]) == ["Good", "morning"]


@BOTH
async def test_metrics_tell_what_happened(make: Make, listen: Listen, over: str) -> None:
    tts = make(over)
    seen: list[metrics.TTSMetrics] = []
    tts.on("metrics_collected", seen.append)
    await listen(tts, "One two. ", "Three four five.")
    (one,) = seen
    assert one.characters_count == len("One two. Three four five.")
    assert one.ttfb >= 0
    assert one.audio_duration == pytest.approx(5 * 0.3, abs=0.2)
    assert one.streamed
    assert one.metadata is not None
    assert (one.metadata.model_name, one.metadata.model_provider) == ("orpheus", "Baseten")
    async with tts.synthesize("Six.") as chunked:
        await chunked.collect()
    assert len(seen) == 2
    assert not seen[1].streamed


@pytest.mark.parametrize("whole", [True, False])
@BOTH
async def test_the_servers_id_of_a_request_is_noted(
    make: Make,
    listen: Listen,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    over: str,
    whole: bool,
) -> None:
    noted: list[str] = []
    monkeypatch.setattr(
        agents_tts.AudioEmitter, "_note_provider_request_id", lambda _, id: noted.append(id)
    )
    tts = make(over, warm_sockets=0)
    if whole:
        await tts.synthesize("Hi there.").collect()
    else:
        await listen(tts, "Hi there.")
    (session,) = sandbox.sessions
    assert session.request_id
    # LiveKit itself notes that of the segment.
    assert noted[-1] == session.request_id


async def test_an_utterance_is_one_segment_with_one_last_frame(make: Make) -> None:
    async with make().stream() as stream:
        stream.push_text("Seven eight nine.")
        stream.end_input()
        events = [event async for event in stream]
    assert len({event.segment_id for event in events}) == 1
    assert len({event.request_id for event in events}) == 1
    assert [event.is_final for event in events] == [False] * (len(events) - 1) + [True]


async def test_options_change_with_the_next_utterance(
    make: Make, listen: Listen, sandbox: Sandbox
) -> None:
    tts = make()
    async with tts.stream() as stream:
        stream.push_text("first ")
        tts.update_options(voice="leo", buffer_size=5)
        stream.push_text("words.")
        stream.end_input()
        assert heard([bytes(e.frame.data) async for e in stream]) == ["first", "words."]
    await listen(tts, "second")
    first, second = (s.received_json[0] for s in sandbox.sessions if s.received_texts)
    assert (first["voice"], first["buffer_size"]) == ("tara", 10)
    assert (second["voice"], second["buffer_size"]) == ("leo", 5)


def test_a_mapping_of_options_is_copied_and_can_be_taken_back() -> None:
    tts = TTS(api_key="k", model="generic", model_id="abcd")
    tts.update_options(extra_body=(body := {"speed": 1}))
    body["speed"] = 2
    assert tts._opts.extra_body == {"speed": 1}
    tts.update_options(extra_body=None)  # type: ignore[arg-type]
    assert tts._opts.extra_body == {}
    with pytest.raises(ValueError, match="extra_body can't be sent as JSON"):
        tts.update_options(extra_body={"when": object()})


def test_bad_options_are_refused_at_once() -> None:
    tts = TTS(api_key="k", model_id="abcd")
    for bad in (
        {"temperature": -1},
        {"temperature": float("nan")},
        {"max_tokens": 0},
        {"buffer_size": 0},
        {"top_p": 2},
    ):
        with pytest.raises(ValueError, match=next(iter(bad))):
            TTS(api_key="k", model_id="abcd", **bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=next(iter(bad))):
            tts.update_options(voice="x", **bad)  # type: ignore[arg-type]
    assert tts._opts.voice == "tara"
    with pytest.raises(ValueError, match="BASETEN_API_KEY"):
        TTS(model_id="abcd")
    with pytest.raises(ValueError, match="BASETEN_TTS_MODEL_ENDPOINT"):
        TTS(api_key="k")
    with pytest.raises(ValueError, match="contradicts"):
        TTS(
            api_key="k",
            model_endpoint="wss://model-a.api.baseten.co/production/websocket",
            transport="http",
        )
    with pytest.raises(ValueError, match="http only"):
        TTS(
            api_key="k",
            model="generic",
            model_endpoint="wss://model-a.api.baseten.co/production/websocket",
        )
    with pytest.raises(ValueError, match="websocket only"):
        TTS(api_key="k", model="qwen3-tts", voice="me", model_id="abcd", transport="http")
    with pytest.raises(ValueError, match="no default voice"):
        TTS(api_key="k", model="qwen3-tts", model_id="abcd")
    design: dict[str, str] = {"model": "qwen3-tts", "model_id": "abcd", "task_type": "VoiceDesign"}
    with pytest.raises(ValueError, match="instructions="):
        TTS(api_key="k", **design)  # type: ignore[arg-type]
    # Such a voice has no name.
    TTS(api_key="k", **design, instructions="an old man")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="neither"):
        TTS(api_key="k", model="qwen3-tts", model_id="abcd", ref_audio="/no/such/file.wav")


def test_options_without_a_meaning_are_named(caplog: pytest.LogCaptureFixture) -> None:
    TTS(api_key="k", model_id="abcd", instructions="softly", word_timestamps=True)
    assert "'orpheus' doesn't use: instructions, word_timestamps" in caplog.text


def test_the_specific_variable_goes_before_the_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASETEN_API_KEY", "k")
    monkeypatch.setenv(
        "BASETEN_MODEL_ENDPOINT", "wss://model-stt.api.baseten.co/production/websocket"
    )
    assert TTS()._sockets is not None
    monkeypatch.setenv(
        "BASETEN_TTS_MODEL_ENDPOINT", "https://model-tts.api.baseten.co/production/predict"
    )
    assert TTS()._sockets is None


async def test_a_wav_answer_is_played_at_its_own_rate(
    make: Make, listen: Listen, sandbox: Sandbox
) -> None:
    from livekit.plugins.baseten_sandbox.engines.tones import speak

    samples, _ = speak("one two three", rate=16000)
    file = wav(samples.tobytes(), rate=16000)
    answer = Fault(do="status", status=200, body=file, headers={"Content-Type": "audio/wav"})
    sandbox.faults.add(answer)
    assert await listen(make("http"), "one two three") == ["one", "two", "three"]


async def test_the_next_sentence_is_requested_before_the_audio_of_the_last_ends(
    make: Make, sandbox: Sandbox
) -> None:
    # The first answer stalls in its middle; the second sentence must already be there by then.
    sandbox.faults.add(Fault(do="delay", seconds=5.0, on="send", after=3))
    tts = make("http")
    async with tts.stream() as stream:
        stream.push_text("This is the first sentence of two. And this is the second of them.")
        stream.end_input()
        await sandbox.wait_sessions(2)
        assert not sandbox.sessions[0].closed


async def test_the_first_sound_is_not_made_to_share_the_server_with_the_next_sentence(
    make: Make, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(do="park"))
    async with make("http").stream() as stream:
        stream.push_text("This is the first sentence of two. And this is the second of them.")
        stream.end_input()
        await sandbox.wait_sessions(1)
        for _ in range(200):  # turns of the loop; a second request would take a few
            await asyncio.sleep(0)
        assert len(sandbox.sessions) == 1


async def test_over_http_each_sentence_comes_with_its_time(make: Make) -> None:
    tts = make("http")
    assert tts.capabilities.aligned_transcript
    assert not make("websocket").capabilities.aligned_transcript
    text = "This is the first sentence of two.  And this is the second of them! … "
    async with tts.stream() as stream:
        stream.push_text(text)
        stream.end_input()
        pieces = [
            piece
            async for event in stream
            for piece in event.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])
        ]
    assert "".join(pieces) == text.rstrip()
    assert [piece.start_time for piece in pieces][:2] == pytest.approx([0.0, 7 * 0.3], abs=0.1)


@BOTH
async def test_text_can_be_paced(make: Make, listen: Listen, over: str) -> None:
    tts = make(over, text_pacing=True)
    text = "This is the first sentence of two. And this is the second of them."
    assert await listen(tts, text) == text.split()


async def test_a_tokenizer_can_be_passed(make: Make, listen: Listen, sandbox: Sandbox) -> None:
    tts = make("http", tokenizer=tokenize.basic.SentenceTokenizer(min_sentence_len=1))
    assert await listen(tts, "One. Two. Three.") == ["One.", "Two.", "Three."]
    prompts = [session.received_json[0]["prompt"] for session in sandbox.sessions]
    assert prompts == ["One.", "Two.", "Three."]


async def test_others_run_while_a_long_text_is_cut_up(make: Make, sandbox: Sandbox) -> None:
    turns = 0
    pushed: list[tuple[int, str]] = []

    class Watched(tokenize.basic.SentenceTokenizer):
        def stream(self, *, language: str | None = None) -> tokenize.SentenceStream:
            stream = super().stream(language=language)
            push = stream.push_text
            stream.push_text = lambda text: (pushed.append((turns, text)), push(text))  # type: ignore
            return stream

    sandbox.faults.add(Fault(do="park"))
    text = "This is one sentence of very many. " * 600
    async with make("http", tokenizer=Watched()).stream() as stream:
        stream.push_text(text)
        stream.end_input()
        async with timeout(20):
            while sum(len(part) for _, part in pushed) < len(text):
                turns += 1
                await asyncio.sleep(0)
    assert "".join(part for _, part in pushed) == text
    assert pushed[-1][0] - pushed[0][0] >= 20


@pytest.mark.parametrize("whole", [True, False])
@BOTH
async def test_a_lone_surrogate_is_left_out(
    make: Make, listen: Listen, over: str, whole: bool
) -> None:
    tts = make(over)
    text = "one \ud83d two \ud83d"
    if whole:
        frame = await tts.synthesize(text).collect()
        assert heard(bytes(frame.data)) == ["one", "two"]
    else:
        assert await listen(tts, text, "\ude00.") == ["one", "two", "."]
    assert await listen(tts, "\ud83d") == []


async def test_it_works_under_the_framework_adapters(make: Make, listen: Listen) -> None:
    inner = make("http")
    assert await listen(agents_tts.StreamAdapter(tts=inner), TEXT) == TEXT.split()
    fallback = agents_tts.FallbackAdapter([make("websocket"), make("http")])
    assert await listen(fallback, TEXT) == TEXT.split()
    await fallback.aclose()


async def test_a_slow_text_is_no_fault(make: Make) -> None:
    quick = APIConnectOptions(max_retry=0, timeout=1.0)
    async with make().stream(conn_options=quick) as stream:
        stream.push_text("Well, ")
        await asyncio.sleep(2.2)  # more than twice the timeout
        stream.push_text("hello.")
        stream.end_input()
        assert heard([bytes(e.frame.data) async for e in stream]) == ["Well,", "hello."]


async def test_json_with_audio_under_any_key(make: Make, sandbox: Sandbox) -> None:
    from livekit.plugins.baseten_sandbox.engines.tones import speak

    samples, _ = speak("four five", rate=24000)
    for answer in (
        {"base64": base64.b64encode(wav(samples.tobytes())).decode()},
        {"audio": base64.b64encode(wav(samples.tobytes())).decode()},
        {"output": "data:audio/wav;base64," + base64.b64encode(wav(samples.tobytes())).decode()},
        {"result": {"audio": base64.b64encode(samples.tobytes()).decode()}},
    ):
        sandbox.faults.add(Fault(do="status", status=200, body=answer))
        tts = make(
            "http", model="generic", text_field="input", voice="af", extra_body={"speed": 1.0}
        )
        frame = await tts.synthesize("four five").collect()
        assert heard(bytes(frame.data)) == ["four", "five"]


async def test_json_is_heard_while_it_comes(make: Make) -> None:
    samples = b"ab" * 24000
    document = json.dumps({"base64": base64.b64encode(wav(samples)).decode()}).encode()
    heard_some = asyncio.Event()

    async def predict(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        await answer.write(document[: len(document) * 3 // 4])
        await heard_some.wait()
        await answer.write(document[len(document) * 3 // 4 :])
        return answer

    app = web.Application()
    app.router.add_post("/", predict)
    async with TestServer(app) as server:
        tts = make(str(server.make_url("/")), model="generic")
        audio = b""
        async with timeout(30), tts.synthesize("four five") as stream:
            async for event in stream:
                audio += bytes(event.frame.data)
                heard_some.set()
    assert audio.startswith(samples)
