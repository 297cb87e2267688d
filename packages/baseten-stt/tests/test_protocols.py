from __future__ import annotations

import contextlib
import json
import math

import pytest
from hypothesis import given, strategies as st

from livekit.agents import APIError
from livekit.plugins.baseten_stt.options import STTOptions
from livekit.plugins.baseten_stt.protocols import (
    PROTOCOLS,
    Alive,
    Heard,
    Lost,
    SpeechProtocol,
    Transcript,
)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
_KEYS = [
    "type",
    "segments",
    "text",
    "is_final",
    "transcription_num",
    "language_code",
    "language_prob",
    "log_prob",
    "word",
    "prob",
    "word_timestamps",
    "start_time",
    "end_time",
    "speaker",
    "body",
    "error",
    "message",
    "error_type",
    "recoverable",
    "is_end_of_audio_flush",
    "transcript",
    "audio_length_sec",
    "status",
    "healthy",
]
_VALUES = _JSON | st.sampled_from(
    ["transcription", "error", "end_audio", "health_check", "session.created", "finished", "en"]
)
_NEAR = st.recursive(
    _VALUES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6)
    ),
    max_leaves=20,
)


def _protocol(name: str, **options) -> SpeechProtocol:
    options.setdefault("language", "en")
    return PROTOCOLS[name](STTOptions(model=name, **options))


def _check(heard: list[Heard]) -> None:
    for result in heard:
        assert isinstance(result, (Transcript, Alive, Lost))
        if isinstance(result, Transcript):
            times = [result.start, result.end]
            times += [t for word in result.words for t in (word.start, word.end)]
            assert all(t is None or (math.isfinite(t) and t >= 0) for t in times)
            assert 0.0 <= result.confidence <= 1.0
            assert isinstance(result.text, str)


@pytest.mark.parametrize("name", PROTOCOLS)
@given(messages=st.lists(st.text() | st.binary() | _NEAR.map(json.dumps), max_size=5))
def test_any_message_gives_a_result_or_an_api_error(name, messages):
    protocol = _protocol(name)
    protocol.opening()
    protocol.end()
    for message in messages:
        with contextlib.suppress(APIError):
            _check(protocol.receive(message))


@given(fields=st.dictionaries(st.sampled_from(_KEYS), _NEAR, max_size=10))
def test_a_transcription_with_any_fields_is_read(fields):
    protocol = _protocol("whisper")
    _check(protocol.receive(json.dumps({**fields, "type": "transcription"})))


def _final(**fields) -> str:
    message = {"type": "transcription", "is_final": True, "transcription_num": 1, "segments": []}
    return json.dumps({**message, **fields})


def test_whisper_metadata_holds_the_ten_known_keys_and_no_more():
    metadata = json.loads(_protocol("whisper").opening()[0])
    assert metadata == {
        "whisper_params": {"audio_language": "en", "show_word_timestamps": True},
        "streaming_params": {
            "encoding": "pcm_s16le",
            "sample_rate": 16000,
            "enable_partial_transcripts": True,
            "partial_transcript_interval_s": 1.0,
            "final_transcript_max_duration_s": 30,
        },
        "streaming_vad_config": {
            "threshold": 0.5,
            "min_silence_duration_ms": 300,
            "speech_pad_ms": 30,
        },
    }
    assert type(metadata["streaming_params"]["final_transcript_max_duration_s"]) is int


def test_whisper_metadata_takes_every_other_key():
    options = {
        "language": "en-US",
        "language_options": ("en", "de-DE"),
        "prompt": "Acme Corp.",
        "keyterms": ("Baseten", "truss"),
        "context": "Where is my order?",
        "output_language": "en",
        "use_dynamic_preprocessing": True,
        "show_beam_results": True,
        "whisper_sampling_params": {"beam_width": 3},
        "whisper_params": {"prefix": "x"},
        "streaming_params": {"prioritize_latency": False},
        "streaming_vad_config": {"sampling_rate": 16000},
        "metadata": {"stream_id": "7"},
    }
    metadata = json.loads(_protocol("whisper", **options).opening()[0])
    assert metadata["whisper_params"] == {
        "audio_language": "en",
        "show_word_timestamps": True,
        "prompt": "Acme Corp. Baseten, truss. Where is my order?",
        "language_options": ["en", "de"],
        "output_language": "en",
        "use_dynamic_preprocessing": True,
        "show_beam_results": True,
        "whisper_sampling_params": {"beam_width": 3},
        "prefix": "x",
    }
    assert metadata["streaming_params"]["prioritize_latency"] is False
    assert metadata["streaming_vad_config"]["sampling_rate"] == 16000
    assert metadata["stream_id"] == "7"


@pytest.mark.parametrize(
    ("style", "names"),
    [
        ("legacy", {"whisper_params", "streaming_params", "vad_params"}),
        ("oldest", {"streaming_whisper_params", "vad_params"}),
    ],
)
def test_whisper_metadata_under_older_names(style, names):
    metadata = json.loads(_protocol("whisper", metadata_format=style).opening()[0])
    assert set(metadata) == names


def test_a_long_context_keeps_its_tail_and_the_prompt():
    options = STTOptions(
        model="whisper", language="en", prompt="Acme.", context="ab " * 1000 + "end"
    )
    prompt = options.full_prompt(with_keyterms=True)
    assert prompt.startswith("Acme. ")
    assert prompt.endswith("end")
    assert len(prompt) <= 800


def test_nulls_everywhere_keep_the_text():
    (heard,) = _protocol("whisper").receive(
        _final(
            language_code=None,
            language_prob=None,
            audio_length_sec=None,
            segments=[
                {
                    "text": " hello there",
                    "log_prob": None,
                    "start_time": None,
                    "end_time": None,
                    "word_timestamps": None,
                    "speaker": None,
                }
            ],
        )
    )
    assert isinstance(heard, Transcript)
    assert (heard.text, heard.language, heard.confidence) == ("hello there", "", 0.0)
    assert heard.start is None
    assert heard.end is None


def test_confidence_comes_from_words_or_else_from_the_log_probability():
    word = {"word": "hi", "start_time": 0.1, "end_time": 0.3, "prob": 0.75}
    segment = {"text": "hi", "log_prob": -0.5}
    protocol = _protocol("whisper")
    (by_log,) = protocol.receive(_final(segments=[segment], transcription_num=1))
    (by_word,) = protocol.receive(
        _final(segments=[{**segment, "word_timestamps": [word]}], transcription_num=2)
    )
    assert by_log.confidence == pytest.approx(math.exp(-0.5))
    assert by_word.confidence == 0.75


def test_segments_in_chinese_are_joined_without_a_space():
    segments = [{"text": "你好"}, {"text": "世界"}]
    (heard,) = _protocol("whisper").receive(_final(segments=segments, language_code="zh"))
    assert heard.text == "你好世界"


def test_the_oldest_shape_has_its_text_at_the_top():
    (heard,) = _protocol("whisper").receive('{"is_final": true, "transcript": "hello"}')
    assert heard.text == "hello"
    assert heard.final


def test_a_final_that_comes_twice_counts_once():
    protocol = _protocol("whisper")
    message = _final(segments=[{"text": "once"}])
    assert isinstance(protocol.receive(message)[0], Transcript)
    assert protocol.receive(message) == [Alive()]


def test_a_word_said_twice_is_heard_twice_from_a_server_that_tells_neither_number_nor_time():
    protocol = _protocol("qwen3-asr")
    for _ in range(2):
        protocol.frame(b"\0\0" * 800)
        protocol.flush()
    message = json.dumps(
        {
            "type": "transcription",
            "is_final": True,
            "is_end_of_audio_flush": True,
            "segments": [{"text": "Yes."}],
        }
    )
    heard = [*protocol.receive(message), *protocol.receive(message)]
    assert [one.text for one in heard if isinstance(one, Transcript)] == ["Yes.", "Yes."]
    assert not protocol.due


def test_a_partial_that_its_final_overtook_is_left_out():
    protocol = _protocol("whisper")
    protocol.receive(_final(segments=[{"text": "all of it"}], transcription_num=3))
    late = _final(segments=[{"text": "all"}], transcription_num=2, is_final=False)
    assert protocol.receive(late) == [Alive()]


@pytest.mark.parametrize(
    "body",
    [
        {"message": "boom"},
        {"error": "boom"},
        {"body": "boom"},
        {"body": {"error": "boom"}},
        {"body": {"message": "boom", "error_type": "AUDIO_PROCESSING_ERROR"}},
        {"body": {"message": "boom", "error_type": "TRANSCRIPTION_ERROR", "recoverable": False}},
    ],
)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_error_frames_of_every_shape_say_what_the_server_said(name, body):
    with pytest.raises(APIError, match="boom"):
        _protocol(name).receive(json.dumps({"type": "error", **body}))


def test_a_failed_segment_is_told_from_a_failed_connection():
    body = {"message": "Transcription failed", "error_type": "TRANSCRIPTION_ERROR"}
    (lost,) = _protocol("whisper").receive(json.dumps({"type": "error", "body": body}))
    assert isinstance(lost, Lost)
    assert lost.segment


def test_a_runtime_without_health_checks_is_tolerated():
    protocol = _protocol("whisper")
    assert len(protocol.opening()) == 2
    error = {"type": "error", "body": {"error": "Unhandled message type", "recoverable": True}}
    assert protocol.receive(json.dumps(error)) == [Alive()]
    assert protocol.health_check() is None


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_unified_protocol_is_named(name):
    with pytest.raises(APIError, match="unified transcription protocol") as caught:
        _protocol(name).receive('{"type": "session.created", "session": {}}')
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("silence", "frames"), [(0, 1), (300, 11), (320, 11), (321, 12), (1000, 33)]
)
def test_a_flush_is_as_long_as_the_vad_waits_and_a_margin(silence, frames):
    protocol = _protocol("whisper", vad_min_silence_duration_ms=silence)
    assert frames <= protocol.flush_silence() <= frames + 4


def test_qwen_counts_its_commits():
    protocol = _protocol("qwen3-asr", language="auto")
    assert protocol.flush() == []
    protocol.frame(b"\0\0" * 800)
    assert [json.loads(m)["type"] for m in protocol.flush()] == ["input_audio_buffer.commit"]
    assert protocol.flush() == []
    protocol.frame(b"\0\0" * 800)
    assert len(protocol.end()) == 1
    assert not protocol.ended
    for text, left in (("x", True), ("x", True), ("y", False)):
        protocol.receive(_final(segments=[{"text": text}], is_end_of_audio_flush=True))
        assert protocol.due is left
    assert protocol.ended


def test_qwen_takes_names_of_languages_and_gives_codes():
    protocol = _protocol("qwen3-asr", language="yue", keyterms=("Baseten",), prompt="Hi.")
    sent = json.loads(protocol.opening()[0])
    assert sent["whisper_params"] == {
        "audio_language": "Cantonese",
        "show_word_timestamps": True,
        "prompt": "Hi.",
        "keyterms": ["Baseten"],
    }
    (heard,) = protocol.receive(_final(language_code="Cantonese", segments=[{"text": "x"}]))
    assert heard.language == "yue"
