from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, strategies as st

from livekit import rtc
from livekit.agents import APIConnectOptions, APIError
from livekit.plugins.baseten_sandbox import Fault
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak
from livekit.plugins.baseten_stt import batch

from .rig import FAST, Rig


def _frame(*texts: str, rate: int = 16000) -> rtc.AudioFrame:
    parts = [silence(0.3, rate=rate)]
    for text in texts:
        parts += [speak(text, rate=rate)[0], silence(0.6, rate=rate)]
    pcm = np.concatenate(parts)
    return rtc.AudioFrame(pcm.tobytes(), rate, 1, len(pcm))


async def test_a_recording_over_the_streaming_deployment(rig: Rig):
    stt = rig.stt()
    metrics = []
    stt.on("metrics_collected", metrics.append)
    event = await stt.recognize(_frame("one two", "three four"), conn_options=FAST)
    assert event.type.value == "final_transcript"
    (data,) = event.alternatives
    assert data.text == "one two three four"
    assert [str(w) for w in data.words] == ["one", "two", "three", "four"]
    assert [m.streamed for m in metrics] == [False]
    sent = rig.sandbox.sessions[0].received_json
    assert sent[0]["streaming_params"]["enable_partial_transcripts"] is False
    assert {"type": "end_audio"} in sent


async def test_a_recording_in_pieces_of_another_rate(rig: Rig):
    whole = _frame("piece by piece", rate=48000)
    samples = np.frombuffer(whole.data, dtype=np.int16)
    pieces = [
        rtc.AudioFrame(samples[at : at + 4800].tobytes(), 48000, 1, len(samples[at : at + 4800]))
        for at in range(0, len(samples), 4800)
    ]
    event = await rig.stt().recognize(pieces, conn_options=FAST)
    assert event.alternatives[0].text == "piece by piece"


async def test_silence_is_an_empty_transcript(rig: Rig):
    event = await rig.stt().recognize(
        rtc.AudioFrame(silence(1.0).tobytes(), 16000, 1, 16000), conn_options=FAST
    )
    assert event.alternatives[0].text == ""


async def test_no_audio_dials_nothing(rig: Rig):
    event = await rig.stt().recognize([], conn_options=FAST)
    assert event.alternatives[0].text == ""
    assert rig.sandbox.sessions == []


async def test_a_failed_attempt_is_retried_by_the_framework_alone(rig: Rig):
    rig.sandbox.faults.add(Fault(do="status", status=500), times=None)
    stt = rig.stt()
    errors = []
    stt.on("error", lambda e: errors.append(e.recoverable))
    with pytest.raises(APIError):
        await stt.recognize(_frame("x"), conn_options=FAST)
    assert len(rig.sandbox.sessions) == 4
    assert errors == [True, True, True, False]


async def test_a_drop_during_a_recording_is_made_good(rig: Rig):
    rig.sandbox.faults.add(Fault(do="reset", on="receive", kind="binary", after=20))
    event = await rig.stt().recognize(_frame("all of it"), conn_options=FAST)
    assert event.alternatives[0].text == "all of it"


@pytest.mark.parametrize(("id", "route"), [("whisper3", "predict"), ("whisper4", "run_remote")])
async def test_a_recording_over_a_batch_deployment(rig: Rig, id: str, route: str):
    stt = rig.stt(batch_endpoint=rig.sandbox.url(id, route), language="en")
    event = await stt.recognize(_frame("in one request"), conn_options=FAST)
    assert event.alternatives[0].text == "in one request"
    assert event.request_id
    (session,) = rig.sandbox.sessions
    assert session.transport == "http"
    assert set(session.received_json[0]) == {"whisper_input"}


@pytest.mark.parametrize(
    ("answer", "text", "language"),
    [
        (
            {
                "language_code": "en",
                "segments": [
                    {"text": " Hello", "start_time": 0.1, "end_time": 0.5, "log_prob": -0.1},
                    {"text": " there.", "start_time": 0.5, "end_time": 1.0, "log_prob": None},
                ],
            },
            "Hello there.",
            "en",
        ),
        (
            {
                "language": "en",
                "text": "Hello there.",
                "segments": [{"start": 0.1, "end": 1.0, "text": "Hello there."}],
            },
            "Hello there.",
            "en",
        ),
        ({"transcript": "Hello there."}, "Hello there.", ""),
        ({"text": "language English<asr_text>Hello there."}, "Hello there.", "en"),
        ("Hello there.", "Hello there.", ""),
        ({"segments": []}, "", ""),
    ],
)
def test_every_shape_of_answer_is_read(answer, text, language):
    read = batch.read_answer(json.dumps(answer))
    assert (read.text, read.language) == (text, language)


@pytest.mark.parametrize(
    "answer", ['{"error": "no audio"}', '"Error: no audio"', "<html>", "[]", "{}", "null"]
)
def test_an_error_with_status_200_is_an_error(answer):
    with pytest.raises(APIError):
        batch.read_answer(answer)


@given(
    st.text()
    | st.recursive(
        st.none() | st.text() | st.integers() | st.floats(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["text", "segments", "transcript", "error", "start", "words", "language"]
                ),
                x,
            )
        ),
    ).map(json.dumps)
)
def test_any_answer_is_a_transcript_or_an_api_error(answer):
    with contextlib.suppress(APIError):
        assert isinstance(batch.read_answer(answer).text, str)


async def test_a_failed_batch_request_says_why(rig: Rig):
    stt = rig.stt(batch_endpoint=rig.sandbox.url("whisper3", "predict"))
    rig.sandbox.faults.add(
        Fault(do="status", status=422, body={"error": "audio too long"}), transport="http"
    )
    with pytest.raises(APIError, match="audio too long"):
        await stt.recognize(_frame("x"), conn_options=APIConnectOptions(max_retry=0))
