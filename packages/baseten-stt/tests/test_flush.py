from __future__ import annotations

import asyncio

import numpy as np
import pytest

from livekit.agents.stt import SpeechEventType
from livekit.plugins.baseten_sandbox import Fault
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak

from .rig import FAST, PAUSE, Rig, check_balanced, collect, finals, push, until


async def test_a_flush_ends_the_segment_though_no_silence_follows(rig: Rig):
    stream = rig.stt().stream(conn_options=FAST)
    one, _ = speak("as soon as I stop", gap=0.05)
    push(stream, np.concatenate([silence(0.3), one]))
    stream.flush()
    events = await until(stream, SpeechEventType.END_OF_SPEECH)
    assert finals(events) == ["as soon as I stop"]
    (session,) = rig.sandbox.sessions
    frames = session.received_frames
    burst = [frame for frame in frames[-16:] if not any(frame)]
    # 11 frames of silence are what the server's VAD waits for at 300 ms.
    assert 11 <= len(burst) <= 16
    await stream.aclose()


async def test_times_after_a_flush_are_the_streams(rig: Rig):
    stream = rig.stt().stream(conn_options=FAST)
    shift, truth = 0.0, []
    texts = ["one two", "three four five", "six"]
    for text in texts:
        pcm, said = speak(text, gap=0.05)
        truth += [shift + 0.203 + w.start for w in said]
        both = np.concatenate([silence(0.203), pcm])
        shift += len(both) / 16000
        push(stream, both, frame=777)
        stream.flush()
    stream.end_input()
    events = await collect(stream)
    check_balanced(events)
    assert finals(events) == texts
    starts = [
        w.start_time
        for e in events
        if e.type == SpeechEventType.FINAL_TRANSCRIPT
        for w in e.alternatives[0].words
    ]
    assert starts == pytest.approx(truth, abs=0.02)


async def test_flushes_of_nothing_are_harmless(rig: Rig):
    stream = rig.stt().stream(conn_options=FAST)
    stream.flush()
    stream.flush()
    push(stream, np.concatenate([silence(0.3), speak("hello")[0]]))
    stream.flush()
    stream.flush()
    stream.end_input()
    assert finals(await collect(stream)) == ["hello"]


async def test_a_flush_is_repeated_after_a_drop(rig: Rig):
    rig.sandbox.faults.add(Fault(do="reset", on="receive", kind="binary", after=30))
    stream = rig.stt().stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("before the drop", gap=0.02)[0]]))
    stream.flush()
    events = await until(stream, SpeechEventType.END_OF_SPEECH)
    assert finals(events) == ["before the drop"]
    assert len(rig.sandbox.sessions) == 2
    await stream.aclose()


async def test_a_turn_is_ended_when_the_audio_stops_in_the_middle(rig: Rig):
    """A muted microphone sends nothing, not even the silence that would end the turn."""
    stream = rig.stt(partial_transcript_interval_s=0.3).stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("then I muted myself", gap=0.02)[0]]))
    events = await asyncio.wait_for(until(stream, SpeechEventType.END_OF_SPEECH), 15)
    assert finals(events) == ["then I muted myself"]
    await stream.aclose()


async def test_a_flush_saves_the_wait_for_silence(rig: Rig):
    """A quarter of a second of silence, which real time would have to bring, isn't enough."""
    stream = rig.stt(dead_link_timeout=1.0).stream(conn_options=FAST)
    pcm = np.concatenate([silence(0.3), speak("how long does it take", gap=0.0)[0], silence(0.25)])
    push(stream, pcm)
    await rig.sandbox.wait_sessions(1)
    (session,) = rig.sandbox.sessions
    await rig.sandbox.wait_for(lambda: len(session.received_frames) == len(pcm) // 512)
    await rig.sandbox.wait_message({"type": "health_check"}, direction="sent", count=3)
    assert not any(m.get("is_final") for m in session.sent_json)
    stream.flush()
    assert finals(await until(stream, SpeechEventType.END_OF_SPEECH)) == ["how long does it take"]
    await stream.aclose()


async def test_a_flush_while_audio_goes_out_is_kept(rig: Rig):
    stream = rig.stt(replay_speed=10.0).stream(conn_options=FAST)
    push(stream, np.concatenate([silence(4.0), speak("at the end", gap=0.0)[0]]))
    await rig.sandbox.wait_for(
        lambda: rig.sandbox.sessions and len(rig.sandbox.sessions[0].received_frames) > 60
    )
    stream.flush()
    assert finals(await until(stream, SpeechEventType.END_OF_SPEECH)) == ["at the end"]
    await stream.aclose()


async def test_a_long_speech_is_cut_without_an_end_of_turn(rig: Rig):
    stream = rig.stt(final_transcript_max_duration_s=4).stream(conn_options=FAST)
    words = [f"x{i}" for i in range(30)]
    push(stream, np.concatenate([silence(0.3), speak(words)[0], PAUSE, PAUSE]))
    stream.end_input()
    events = await collect(stream)
    check_balanced(events)
    assert " ".join(finals(events)).split() == words
    assert len(finals(events)) > 1
    assert sum(e.type == SpeechEventType.END_OF_SPEECH for e in events) == 1


async def test_a_drop_in_a_long_speech_costs_no_word(rig: Rig):
    rig.sandbox.faults.add(Fault(do="reset", on="receive", kind="binary", after=220))
    stream = rig.stt(final_transcript_max_duration_s=4).stream(conn_options=FAST)
    words = [f"y{i}" for i in range(40)]
    push(stream, np.concatenate([silence(0.3), speak(words)[0], PAUSE, PAUSE]))
    stream.end_input()
    events = await collect(stream)
    check_balanced(events)
    assert " ".join(finals(events)).split() == words
