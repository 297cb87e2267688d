from __future__ import annotations

import asyncio
import logging
import tracemalloc

import numpy as np
from hypothesis import given, strategies as st

from livekit.agents import APIConnectOptions
from livekit.agents.stt import FallbackAdapter, SpeechEventType
from livekit.plugins.baseten_sandbox import Fault
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak
from livekit.plugins.baseten_stt import watch
from livekit.plugins.baseten_stt.replay import Replay

from .rig import FAST, PAUSE, Rig, collect, finals, push, until

_SAMPLES = st.integers(0, 40000)


@given(st.lists(st.tuples(_SAMPLES, st.integers(0, 80000), _SAMPLES, _SAMPLES), max_size=12))
def test_what_is_not_covered_can_always_be_read(steps):
    replay, truth = Replay(), np.zeros(0, dtype=np.int16)
    for count, cover, after, samples in steps:
        pcm = np.arange(len(truth), len(truth) + count).astype(np.int16)
        truth = np.concatenate([truth, pcm])
        replay.append(pcm.tobytes())
        replay.cover(cover)
        assert replay.covered <= replay.end == len(truth)
        rest = replay.read(replay.covered, replay.end - replay.covered)
        assert rest == truth[replay.covered :].tobytes()
        at = replay.covered + after
        assert replay.read(at, samples) == truth[at : at + samples].tobytes()


def test_a_minute_takes_no_more_memory_than_its_audio():
    piece, minute = bytes(2 * 800), 2 * 16000 * 60
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        replay = Replay()
        for _ in range(60 * 20):
            replay.append(memoryview(piece))
        assert tracemalloc.get_traced_memory()[0] - before < 1.02 * minute
        replay.cover(replay.end - 16000)
        assert tracemalloc.get_traced_memory()[0] - before < 2 * 16000 * 1.5
    finally:
        tracemalloc.stop()


def test_sound_is_forgotten_once_any_segment_has_had_its_answer():
    replay = Replay()
    ear = watch.Watch(replay, 16000)
    loud = np.full(16000, 9000, dtype=np.int16).tobytes()
    for now in range(1, 101):
        replay.append(loud)
        ear.look(float(now))
        ear.forget_silence(float(now), replay.end, patience=3.0, longest=55.0)
        # What had been sent 55 s ago at the last look before that; not a sample more.
        assert replay.covered == max(0, now - 56) * 16000


async def test_waiting_audio_goes_out_no_faster_than_asked(rig: Rig):
    stream = rig.stt(replay_speed=20.0).stream(conn_options=FAST)
    push(stream, silence(12.0))
    stream.end_input()
    await collect(stream)
    (session,) = rig.sandbox.sessions
    times = [m.at for m in session.messages if isinstance(m.data, bytes)]
    assert len(times) == 375
    for number, at in enumerate(times):
        # what may go out at once, and what the time since then allows
        assert number * 0.032 <= 1.6 + 20.0 * at + 1.0


async def test_silence_that_the_server_has_had_is_not_sent_again(rig: Rig):
    options = APIConnectOptions(max_retry=3, retry_interval=0.05, timeout=0.6)
    stream = rig.stt(dead_link_timeout=1.0).stream(conn_options=options)
    push(stream, silence(25.0))
    await rig.sandbox.wait_message({"type": "health_check"}, direction="sent", count=5)
    await rig.sandbox.strike(Fault(do="reset"))
    await rig.sandbox.wait_sessions(2)
    push(stream, np.concatenate([speak("still quick")[0], PAUSE]))
    events = await until(stream, SpeechEventType.END_OF_SPEECH)
    assert finals(events) == ["still quick"]
    final = next(e for e in events if e.alternatives and e.type.value == "final_transcript")
    assert abs(final.alternatives[0].words[0].start_time - 25.0) < 0.02
    assert len(rig.sandbox.sessions[-1].received_frames) < 150
    await stream.aclose()


async def test_sound_without_an_answer_is_sent_again_however_old(rig: Rig):
    """Its words may be stuck in the server."""
    stuck = Fault(do="drop", on="send", match={"type": "transcription"}, count=None)
    rig.sandbox.faults.add(stuck)
    options = APIConnectOptions(max_retry=3, retry_interval=0.05, timeout=0.6)
    stream = rig.stt(dead_link_timeout=1.0).stream(conn_options=options)
    push(stream, np.concatenate([silence(2.0), speak("stuck in there")[0], silence(3.0)]))
    await rig.sandbox.wait_message({"type": "health_check"}, direction="sent", count=5)
    await rig.sandbox.strike(Fault(do="reset"))
    events = await until(stream, SpeechEventType.END_OF_SPEECH)
    assert finals(events) == ["stuck in there"]
    await stream.aclose()


async def test_sound_that_nobody_answers_is_told(rig: Rig, caplog, monkeypatch):
    monkeypatch.setattr(watch, "_UNANSWERED", 0.8)
    told = asyncio.Event()

    class _Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "no transcript came back" in record.getMessage():
                told.set()

    logger, ear = logging.getLogger("livekit.plugins.baseten.stt"), _Ear()
    rig.sandbox.faults.add(Fault(do="drop", on="send", match={"type": "transcription"}, count=None))
    stream = rig.stt().stream(conn_options=FAST)
    logger.addHandler(ear)
    try:
        while not told.is_set():
            push(stream, speak("anybody there")[0])
            await asyncio.sleep(0.2)
    finally:
        logger.removeHandler(ear)
        await stream.aclose()


async def test_a_fallback_takes_over(rig: Rig):
    rig.sandbox.faults.add(Fault(do="status", status=401), times=None, deployment="whisper1")
    second = rig.stt(model_endpoint=rig.sandbox.url("whisper2", "websocket"))
    adapter = FallbackAdapter([rig.stt(), second])
    stream = adapter.stream()
    await rig.sandbox.wait_for(lambda: rig.sandbox.open_sockets == 1)
    push(stream, np.concatenate([silence(0.3), speak("from the second one")[0], PAUSE]))
    stream.end_input()
    events = await collect(stream)
    assert finals(events) == ["from the second one"]
    await stream.aclose()
    await adapter.aclose()


async def test_an_older_chain_is_reached_by_its_other_path(rig: Rig):
    from livekit.plugins.baseten_sandbox import Deployment

    rig.sandbox.deploy(
        Deployment(id="old1", serves="whisper", kind="chain", websocket_route="run_remote")
    )
    stt = rig.stt(model_endpoint=rig.sandbox.url("old1", "websocket"))
    stream = stt.stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("by the older path")[0], PAUSE]))
    stream.end_input()
    assert finals(await collect(stream)) == ["by the older path"]
