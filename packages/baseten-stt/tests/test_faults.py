from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import numpy as np
import pytest

from livekit.agents import APIConnectOptions, APIError, APIStatusError
from livekit.agents.stt import SpeechEventType
from livekit.plugins.baseten_sandbox import Fault
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak

from .rig import FAST, PAUSE, Rig, check_balanced, collect, collect_with_error, finals, push, until

_FINAL = {"type": "transcription", "is_final": True}


def _say(stream, text: str) -> None:
    push(stream, np.concatenate([silence(0.3), speak(text)[0], PAUSE]))


async def _fails(rig: Rig, conn_options: APIConnectOptions = FAST, **options) -> APIError:
    stream = rig.stt(**options).stream(conn_options=conn_options)
    _say(stream, "hello")
    stream.end_input()
    with pytest.raises(APIError) as caught:
        await asyncio.wait_for(collect(stream), 30)
    return caught.value


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404])
async def test_a_permanent_refusal_is_final_at_once(rig: Rig, status: int):
    rig.sandbox.faults.add(Fault(do="status", status=status, body={"error": "no entry"}))
    error = await _fails(rig)
    assert isinstance(error, APIStatusError)
    assert error.status_code == status
    assert "no entry" in str(error)
    assert error.request_id
    assert len(rig.sandbox.sessions) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_passing_refusal_is_retried(rig: Rig, status: int):
    rig.sandbox.faults.add(Fault(do="status", status=status), times=2)
    stream = rig.stt(cold_start_timeout=0.0).stream(conn_options=FAST)
    _say(stream, "hello again")
    stream.end_input()
    assert finals(await collect(stream)) == ["hello again"]
    assert len(rig.sandbox.sessions) == 3


async def test_a_wrong_key_is_refused_and_never_shown(rig: Rig, caplog):
    from livekit.plugins.baseten_stt import STT

    caplog.set_level(logging.DEBUG)
    secret = "wrong-key-0123456789"
    stt = STT(api_key=secret, model_endpoint=rig.sandbox.stt_endpoint, http_session=rig.session)
    with pytest.raises(APIStatusError) as caught:
        await collect(stt.stream(conn_options=FAST))
    assert caught.value.status_code == 401
    assert secret not in repr(stt) + repr(caught.value) + repr(stt.__dict__) + caplog.text


async def test_a_handshake_that_is_never_answered_is_given_up(rig: Rig):
    rig.sandbox.faults.add(Fault(do="park"), times=None)
    options = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=0.3)
    error = await _fails(rig, options, cold_start_timeout=0.0)
    assert "no answer within" in str(error)
    assert len(rig.sandbox.sessions) == 2


async def test_a_cold_start_is_waited_for_in_sight(rig: Rig, caplog):
    caplog.set_level(logging.INFO)
    rig.sandbox.deploy(replace(rig.sandbox.deployment("whisper1"), state="loading"))
    stream = rig.stt(cold_start_timeout=30.0).stream(
        conn_options=APIConnectOptions(max_retry=0, timeout=5.0)
    )
    _say(stream, "good morning")
    stream.end_input()
    await rig.sandbox.wait_sessions(1, closed=True)
    rig.sandbox.deploy(replace(rig.sandbox.deployment("whisper1"), state="ready"))
    assert finals(await collect(stream)) == ["good morning"]
    assert "the deployment is starting" in caplog.text


async def test_a_cold_start_is_waited_for_no_longer_than_asked(rig: Rig):
    rig.sandbox.deploy(replace(rig.sandbox.deployment("whisper1"), state="loading"))
    options = APIConnectOptions(max_retry=0, timeout=5.0)
    error = await _fails(rig, options, cold_start_timeout=1.5)
    assert isinstance(error, APIStatusError)
    assert error.status_code == 503


async def test_a_rejected_configuration_is_told_with_its_keys(rig: Rig):
    error = await _fails(rig, whisper_params={"no_such_key": 1})
    assert isinstance(error, APIStatusError)
    assert "configuration rejected" in str(error)
    assert "whisper_params.no_such_key" in str(error)
    assert not error.retryable
    assert len(rig.sandbox.sessions) == 2


async def test_one_failure_of_the_model_is_no_rejection(rig: Rig):
    rig.sandbox.faults.add(Fault(do="close", code=1011))
    stream = rig.stt().stream(conn_options=FAST)
    _say(stream, "hello")
    stream.end_input()
    assert finals(await collect(stream)) == ["hello"]


async def test_a_deployment_of_the_unified_protocol_is_named(rig: Rig):
    rig.sandbox.faults.add(
        Fault(do="send", payload={"type": "session.created", "session": {"id": "x"}}), times=None
    )
    error = await _fails(rig)
    assert "unified transcription protocol" in str(error)
    assert len(rig.sandbox.sessions) == 1


@pytest.mark.parametrize(
    "payload", ["garbage", "[1]", '{"type": "error", "body": {"message": "gone wrong"}}']
)
async def test_a_garbled_or_failed_connection_costs_no_word(rig: Rig, payload: str):
    rig.sandbox.faults.add(Fault(do="send", on="receive", kind="binary", after=25, payload=payload))
    stream = rig.stt().stream(conn_options=FAST)
    _say(stream, "one two three")
    _say(stream, "four five")
    stream.end_input()
    events = await collect(stream)
    check_balanced(events)
    assert finals(events) == ["one two three", "four five"]


async def test_binary_data_says_that_the_deployment_is_another(rig: Rig):
    rig.sandbox.faults.add(Fault(do="send", payload=b"\0\1"))
    assert "check the endpoint" in str(await _fails(rig))


async def test_a_failed_segment_is_tried_once_more(rig: Rig):
    failed = {
        "type": "error",
        "body": {
            "message": "Transcription failed",
            "error_type": "TRANSCRIPTION_ERROR",
            "recoverable": True,
        },
    }
    rig.sandbox.faults.add(Fault(do="replace", on="send", match=_FINAL, payload=failed))
    stream = rig.stt().stream(conn_options=FAST)
    _say(stream, "at the second go")
    stream.end_input()
    assert finals(await collect(stream)) == ["at the second go"]
    assert len(rig.sandbox.sessions) == 2


async def test_a_segment_that_always_fails_is_left_out(rig: Rig, caplog):
    failed = {"type": "error", "body": {"message": "x", "error_type": "TRANSCRIPTION_ERROR"}}
    first = Fault(do="replace", on="send", match=_FINAL, payload=failed)
    rig.sandbox.faults.add(first, times=2)
    stream = rig.stt().stream(conn_options=FAST)
    seen = []
    _say(stream, "unheard of")
    await rig.sandbox.wait_sessions(2)
    await rig.sandbox.wait_message({"type": "error"}, direction="sent", count=2)
    _say(stream, "and on it goes")
    stream.end_input()
    seen += await collect(stream)
    check_balanced(seen)
    assert finals(seen) == ["and on it goes"]
    assert "left out" in caplog.text


async def test_an_end_without_the_final_of_what_was_shown_is_no_success(rig: Rig):
    rig.sandbox.faults.add(Fault(do="drop", on="send", match=_FINAL))
    stream = rig.stt(partial_transcript_interval_s=0.3).stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("shown but never final")[0]]))
    stream.end_input()
    assert finals(await collect(stream)) == ["shown but never final"]
    assert len(rig.sandbox.sessions) == 2


@pytest.mark.parametrize("model", ["whisper", "qwen3-asr"])
async def test_a_message_that_comes_twice_counts_once(rig: Rig, model: str):
    endpoint = rig.sandbox.stt_endpoint if model == "whisper" else rig.sandbox.qwen_stt_endpoint
    rig.sandbox.faults.add(Fault(do="duplicate", on="send", match=_FINAL, count=None))
    stream = rig.stt(model=model, model_endpoint=endpoint).stream(conn_options=FAST)
    for text in ("once only", "and this too"):
        push(stream, np.concatenate([silence(0.3), speak(text, gap=0.05)[0]]))
        stream.flush()
    stream.end_input()
    events = await collect(stream)
    check_balanced(events)
    assert finals(events) == ["once only", "and this too"]


async def test_an_unanswered_end_of_audio_ends_with_an_error(rig: Rig):
    rig.sandbox.faults.add(Fault(do="drop", on="send", match='"finished"'), times=None)
    options = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=0.5)
    error = await _fails(rig, options)
    assert len(rig.sandbox.sessions) == 3  # the first one brought the final
    assert "of audio is missing" in str(error)


@pytest.mark.parametrize("code", [1000, 1011])
async def test_a_close_before_the_last_final_is_no_success(rig: Rig, code: int):
    strike = Fault(do="close", on="receive", match={"type": "end_audio"}, code=code)
    rig.sandbox.faults.add(strike)
    stream = rig.stt().stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("the very last words")[0]]))
    stream.end_input()
    assert finals(await collect(stream)) == ["the very last words"]
    assert len(rig.sandbox.sessions) == 2


async def test_a_dead_link_is_noticed(rig: Rig):
    rig.sandbox.faults.add(Fault(do="silence", on="receive", kind="binary", after=20))
    stream = rig.stt(dead_link_timeout=1.0).stream(conn_options=FAST)
    _say(stream, "can you hear me")
    _say(stream, "now")
    events = await until(stream, SpeechEventType.END_OF_SPEECH)
    events += await until(stream, SpeechEventType.END_OF_SPEECH)
    assert finals(events) == ["can you hear me", "now"]
    await stream.aclose()


async def test_a_server_that_answers_pings_alone_is_noticed(rig: Rig):
    rig.sandbox.faults.add(Fault(do="mute", on="send", after=1))
    stream = rig.stt(dead_link_timeout=1.0).stream(conn_options=FAST)
    _say(stream, "is anybody there")
    events = await until(stream, SpeechEventType.END_OF_SPEECH)
    assert finals(events) == ["is anybody there"]
    assert len(rig.sandbox.sessions) == 2
    await stream.aclose()


async def test_the_turn_is_closed_when_the_stream_fails_for_good(rig: Rig):
    interim = {"type": "transcription", "is_final": False}
    rig.sandbox.faults.add(Fault(do="close", on="send", match=interim, after=1, code=1008))
    stream = rig.stt(partial_transcript_interval_s=0.3).stream(conn_options=FAST)
    push(stream, speak("this is cut off in the middle of it")[0])
    events, error = await collect_with_error(stream)
    assert isinstance(error, APIStatusError)
    check_balanced(events)
    assert finals(events) == []
    usage = sum(e.recognition_usage.audio_duration for e in events if e.recognition_usage)
    assert usage == pytest.approx(len(speak("this is cut off in the middle of it")[0]) / 16000)


async def test_errors_are_reported_once_each(rig: Rig):
    rig.sandbox.faults.add(Fault(do="status", status=500), times=None)
    stt = rig.stt()
    seen = []
    stt.on("error", lambda e: seen.append(e.recoverable))
    stream = stt.stream(conn_options=FAST)
    with pytest.raises(APIError):
        await collect(stream)
    assert seen == [True, True, True, False]


async def test_audio_that_never_comes_is_told_once(rig: Rig, caplog, monkeypatch):
    from livekit.plugins.baseten_stt import watch

    monkeypatch.setattr(watch, "_NO_AUDIO", 0.3)
    stream = rig.stt().stream(conn_options=FAST)
    warned = asyncio.Event()

    class _Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "no audio has arrived" in record.getMessage():
                warned.set()

    handler = _Watch()
    logging.getLogger("livekit.plugins.baseten.stt").addHandler(handler)
    try:
        await asyncio.wait_for(warned.wait(), 10)
    finally:
        logging.getLogger("livekit.plugins.baseten.stt").removeHandler(handler)
        await stream.aclose()
