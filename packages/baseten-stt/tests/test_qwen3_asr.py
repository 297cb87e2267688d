from __future__ import annotations

import asyncio

import numpy as np
import pytest

from livekit.agents import APIConnectOptions, APIError
from livekit.agents.stt import SpeechEventType
from livekit.plugins.baseten_sandbox import Fault
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak
from livekit.plugins.baseten_stt import STT

from .rig import FAST, PAUSE, Rig, check_balanced, collect, finals, push, until


def _qwen(rig: Rig, **options) -> STT:
    return rig.stt(model="qwen3-asr", model_endpoint=rig.sandbox.qwen_stt_endpoint, **options)


def _commits(rig: Rig, number: int = 0) -> int:
    sent = rig.sandbox.sessions[number].received_json
    return sum(m.get("type") == "input_audio_buffer.commit" for m in sent)


async def test_turns_end_on_their_own(rig: Rig):
    stream = _qwen(rig).stream(conn_options=FAST)
    one, _ = speak("hello there")
    two, _ = speak("how are you today")
    long_pause = silence(1.0)
    push(stream, np.concatenate([silence(0.3), one, long_pause, two, long_pause]))
    stream.end_input()
    events = await collect(stream)
    check_balanced(events)
    assert finals(events) == ["hello there", "how are you today"]
    final = next(e for e in events if e.type == SpeechEventType.FINAL_TRANSCRIPT)
    assert final.alternatives[0].language == "en"


async def test_each_flush_commits_once(rig: Rig):
    stream = _qwen(rig).stream(conn_options=FAST)
    for text in ("first part", "second part"):
        push(stream, np.concatenate([silence(0.3), speak(text, gap=0.05)[0]]))
        stream.flush()
        stream.flush()
    stream.end_input()
    assert finals(await collect(stream)) == ["first part", "second part"]
    assert _commits(rig) == 2


async def test_what_follows_a_flush_is_heard_too(rig: Rig):
    stream = _qwen(rig).stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("before", gap=0.05)[0]]))
    stream.flush()
    push(stream, np.concatenate([silence(0.3), speak("after", gap=0.05)[0]]))
    stream.end_input()
    assert finals(await collect(stream)) == ["before", "after"]


async def test_an_unanswered_commit_ends_with_an_error(rig: Rig):
    rig.sandbox.faults.add(Fault(do="mute", on="receive", match="commit"), times=None)
    options = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=0.5)
    stream = _qwen(rig).stream(conn_options=options)
    push(stream, speak("hello")[0])
    stream.end_input()
    with pytest.raises(APIError, match="of audio is missing"):
        await asyncio.wait_for(collect(stream), 20)


@pytest.mark.parametrize("after", [5, 15, 30, 45])
async def test_a_drop_costs_and_doubles_no_word(rig: Rig, after: int):
    rig.sandbox.faults.add(Fault(do="reset", on="receive", after=after))
    stream = _qwen(rig).stream(conn_options=FAST)
    texts = ["one two three", "four five"]
    for text in texts:
        push(stream, np.concatenate([silence(0.3), speak(text)[0], PAUSE]))
        stream.flush()
    stream.end_input()
    events = await collect(stream)
    check_balanced(events)
    assert finals(events) == texts


async def test_options_change_at_a_pause(rig: Rig):
    stt = _qwen(rig, partial_transcript_interval_s=0.3)
    stream = stt.stream(conn_options=FAST)
    pcm = speak("said while it changes over")[0]
    push(stream, pcm[:16000])
    events = await until(stream, SpeechEventType.INTERIM_TRANSCRIPT)
    stt.update_options(language="yue", keyterms=["Baseten"])
    await rig.sandbox.wait_sessions(2)
    push(stream, np.concatenate([pcm[16000:], silence(1.0)]))
    stream.end_input()
    events += await collect(stream)
    check_balanced(events)
    assert finals(events) == ["said while it changes over"]


async def test_an_error_frame_under_either_name_is_told(rig: Rig):
    for body in ({"message": "unsupported language"}, {"error": "unsupported language"}):
        rig.sandbox.faults.add(Fault(do="send", payload={"type": "error", **body}))
        with pytest.raises(APIError, match="unsupported language") as caught:
            await collect(_qwen(rig).stream(conn_options=FAST))
        assert not caught.value.retryable
