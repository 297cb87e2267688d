from __future__ import annotations

import asyncio

import numpy as np
import pytest

from livekit.agents.stt import SpeechEventType
from livekit.plugins.baseten_sandbox import Fault
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak
from livekit.plugins.baseten_stt import STT

from .rig import FAST, PAUSE, Rig, check_balanced, collect, finals, push, until


def _languages(rig: Rig) -> list[str]:
    return [s.received_json[0]["whisper_params"]["audio_language"] for s in rig.sandbox.sessions]


async def test_options_change_in_mid_speech_without_losing_a_word(rig: Rig):
    stt = rig.stt(partial_transcript_interval_s=0.3)
    stream = stt.stream(conn_options=FAST)
    text = "this goes on while options change"
    half = len(speak(text)[0]) // 2
    pcm = np.concatenate([silence(0.3), speak(text)[0]])
    push(stream, pcm[:half])
    events = await until(stream, SpeechEventType.INTERIM_TRANSCRIPT)
    stt.update_options(language="de", vad_min_silence_duration_ms=500)
    await rig.sandbox.wait_sessions(2)  # dialled while the first goes on
    assert not rig.sandbox.sessions[0].closed
    push(stream, np.concatenate([pcm[half:], PAUSE]))
    events += await until(stream, SpeechEventType.END_OF_SPEECH)
    push(stream, np.concatenate([speak("and then in German")[0], PAUSE]))
    stream.end_input()
    events += await collect(stream)
    check_balanced(events)
    assert finals(events) == [text, "and then in German"]
    assert _languages(rig) == ["en", "de"]
    second = rig.sandbox.sessions[1].received_json[0]["streaming_vad_config"]
    assert second["min_silence_duration_ms"] == 500


def test_options_show_what_the_next_stream_is_opened_with(rig: Rig):
    stt = rig.stt(vad_threshold=0.4)
    assert (stt.options.model, stt.options.language, stt.options.vad_threshold) == (
        "whisper",
        "en",
        0.4,
    )
    stt.update_options(language="de")
    assert stt.options.language == "de"
    with pytest.raises(AttributeError):
        stt.options = stt.options


async def test_options_change_at_once_in_silence(rig: Rig):
    stt = rig.stt()
    stream = stt.stream(conn_options=FAST)
    push(stream, silence(2.0))
    await rig.sandbox.wait_for(
        lambda: rig.sandbox.sessions and len(rig.sandbox.sessions[0].received_frames) > 60
    )
    stt.update_options(vad_threshold=0.7)
    await rig.sandbox.wait_for(
        lambda: len(rig.sandbox.sessions) == 2 and rig.sandbox.sessions[1].received_texts
    )
    push(stream, np.concatenate([speak("hello")[0], PAUSE]))
    stream.end_input()
    events = await collect(stream)
    assert finals(events) == ["hello"]
    # Silence that the first connection has heard isn't sent again, but for a little.
    assert len(rig.sandbox.sessions[1].received_frames) < 60
    final = next(e for e in events if e.type == SpeechEventType.FINAL_TRANSCRIPT)
    assert final.alternatives[0].words[0].start_time == pytest.approx(2.0, abs=0.02)


async def test_speech_that_began_before_the_change_stays_whole(rig: Rig):
    """No partial has told yet that somebody speaks."""
    stt = rig.stt(enable_partial_transcripts=False)
    stream = stt.stream(conn_options=FAST)
    pcm = np.concatenate([silence(0.3), speak("just begun when it changed")[0], PAUSE])
    push(stream, pcm[:10000])
    await rig.sandbox.wait_for(
        lambda: rig.sandbox.sessions and len(rig.sandbox.sessions[0].received_frames) >= 19
    )
    stt.update_options(language="fr")
    await rig.sandbox.wait_for(
        lambda: len(rig.sandbox.sessions) == 2 and rig.sandbox.sessions[1].received_texts
    )
    push(stream, pcm[10000:])
    stream.end_input()
    assert finals(await collect(stream)) == ["just begun when it changed"]


async def test_a_failed_change_keeps_the_connection(rig: Rig):
    stt = rig.stt()
    stream = stt.stream(conn_options=FAST)
    await rig.sandbox.wait_message({"type": "health_check"}, direction="sent")
    rig.sandbox.faults.add(Fault(do="status", status=503))
    stt.update_options(language="de")
    await rig.sandbox.wait_sessions(2)
    push(stream, np.concatenate([silence(0.3), speak("still here")[0], PAUSE]))
    events = await until(stream, SpeechEventType.END_OF_SPEECH)
    assert finals(events) == ["still here"]
    assert not rig.sandbox.sessions[0].closed
    await stream.aclose()


async def test_a_connection_is_replaced_before_it_gets_too_old(rig: Rig):
    stream = rig.stt(max_connection_age=0.3).stream(conn_options=FAST)
    texts = ["one two", "three four", "five six"]
    events = []
    for text in texts:
        push(stream, np.concatenate([silence(0.3), speak(text)[0], PAUSE]))
        events += await until(stream, SpeechEventType.END_OF_SPEECH)
        count = len(rig.sandbox.sessions)
        await rig.sandbox.wait_for(lambda count=count: len(rig.sandbox.sessions) > count)
    stream.end_input()
    events += await collect(stream)
    check_balanced(events)
    assert finals(events) == texts


async def test_the_language_of_a_stream_is_its_own(rig: Rig):
    stt = rig.stt(language="en")
    stream = stt.stream(language="German", conn_options=FAST)
    other = stt.stream(conn_options=FAST)
    await rig.sandbox.wait_for(
        lambda: sum(bool(s.received_texts) for s in rig.sandbox.sessions) == 2
    )
    assert sorted(_languages(rig)) == ["de", "en"]
    await asyncio.gather(stream.aclose(), other.aclose())


async def test_terms_and_context_reach_the_prompt(rig: Rig):
    from livekit.agents import ConversationItemAddedEvent
    from livekit.agents.llm import ChatMessage

    stt = rig.stt(prompt="Acme support.", keyterms=["Baseten"], chat_context=True)
    assert stt.capabilities.chat_context
    stt._update_session_keyterms(["truss", "Baseten"])
    item = ChatMessage(role="assistant", content=["Where is your order?"])
    stt._push_conversation_item(ConversationItemAddedEvent(item=item))
    stream = stt.stream(conn_options=FAST)
    await rig.sandbox.wait_for(
        lambda: rig.sandbox.sessions and rig.sandbox.sessions[0].received_texts
    )
    sent = rig.sandbox.sessions[0].received_json[0]["whisper_params"]["prompt"]
    assert sent == "Acme support. Baseten, truss. Where is your order?"
    await stream.aclose()


async def test_capabilities_follow_the_options(rig: Rig):
    plain = rig.stt().capabilities
    assert (plain.interim_results, plain.aligned_transcript) == (True, "word")
    assert plain.manual_flush
    assert plain.offline_recognize
    assert plain.keyterms
    assert not plain.chat_context
    bare = rig.stt(enable_partial_transcripts=False, show_word_timestamps=False).capabilities
    assert (bare.interim_results, bare.aligned_transcript) == (False, "chunk")


async def test_no_event_claims_what_is_switched_off(rig: Rig):
    stream = rig.stt(enable_partial_transcripts=False, show_word_timestamps=False).stream(
        conn_options=FAST
    )
    push(stream, np.concatenate([silence(0.3), speak("a b c d e f g h i")[0], PAUSE]))
    stream.end_input()
    events = await collect(stream)
    assert [e.type.value for e in events if e.alternatives] == ["final_transcript"]
    final = next(e for e in events if e.alternatives)
    assert final.alternatives[0].words is None
    assert final.alternatives[0].end_time > 0


async def test_two_equal_partials_make_a_preflight(rig: Rig):
    interim = {"type": "transcription", "is_final": False}
    rig.sandbox.faults.add(Fault(do="duplicate", on="send", match=interim, count=None))
    stream = rig.stt(preflight=True, partial_transcript_interval_s=0.5).stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("one two three four five")[0], PAUSE]))
    stream.end_input()
    events = await collect(stream)
    check_balanced(events)
    preflights = [e for e in events if e.type == SpeechEventType.PREFLIGHT_TRANSCRIPT]
    assert preflights
    assert len({e.alternatives[0].text for e in preflights}) == len(preflights)


@pytest.mark.parametrize(
    "options",
    [
        {"model": "parakeet"},
        {"language": " "},
        {"vad_threshold": 1.5},
        {"vad_min_silence_duration_ms": -1},
        {"vad_speech_pad_ms": 1.5},
        {"partial_transcript_interval_s": 0},
        {"final_transcript_max_duration_s": 2.5},
        {"encoding": "opus"},
        {"sample_rate": 0},
        {"metadata_format": "new"},
        {"dead_link_timeout": 0},
        {"replay_speed": 0.5},
        {"model": "qwen3-asr", "encoding": "pcm_mulaw"},
        {"model_endpoint": "ws://example.com/websocket"},
        {"api_key": " "},
    ],
)
def test_a_callers_mistake_is_told_at_once(options):
    options = {"api_key": "k", "model_endpoint": "wss://example.com/websocket", **options}
    with pytest.raises(ValueError, match=r"\w"):
        STT(**options)


def test_a_missing_endpoint_names_what_to_set(monkeypatch):
    for name in ("MODEL_ENDPOINT", "MODEL_ID", "CHAIN_ID"):
        monkeypatch.delenv(f"BASETEN_STT_{name}", raising=False)
    monkeypatch.delenv("BASETEN_MODEL_ENDPOINT", raising=False)
    with pytest.raises(ValueError, match=r"model_endpoint=.*BASETEN_STT_MODEL_ENDPOINT"):
        STT(api_key="k")


def test_a_bad_change_changes_nothing():
    stt = STT(api_key="k", model_endpoint="wss://example.com/websocket")
    before = stt._options
    with pytest.raises(ValueError, match="vad_threshold"):
        stt.update_options(language="de", vad_threshold=7)
    assert stt._options is before


def test_every_argument_of_the_published_plugin_is_taken():
    STT(
        model="whisper",
        api_key="k",
        model_endpoint="wss://example.com/websocket",
        model_id="abc",
        chain_id="abc",
        sample_rate=16000,
        encoding="pcm_s16le",
        buffer_size_seconds=0.032,
        language="en",
        language_options=["en", "de"],
        enable_partial_transcripts=True,
        partial_transcript_interval_s=1.0,
        final_transcript_max_duration_s=30,
        show_word_timestamps=True,
        vad_threshold=0.5,
        vad_min_silence_duration_ms=300,
        vad_speech_pad_ms=30,
        http_session=None,
    ).update_options(
        vad_threshold=0.5,
        vad_min_silence_duration_ms=300,
        vad_speech_pad_ms=30,
        language="en",
        language_options=["en"],
        buffer_size_seconds=0.032,
    )
