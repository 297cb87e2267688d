from __future__ import annotations

import asyncio

import aiohttp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from livekit import rtc
from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak
from livekit.plugins.baseten_stt.audio import downmix, encode_mulaw
from livekit.plugins.baseten_stt.link import Link
from livekit.plugins.baseten_stt.options import STTOptions
from livekit.plugins.baseten_stt.protocols import PROTOCOLS
from livekit.plugins.baseten_stt.replay import Replay
from livekit.plugins.baseten_stt.timeline import Timeline

from .rig import FAST, Rig, collect, finals, push


class _Wire:
    """Takes what a link sends, in place of a WebSocket."""

    closed = None

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []

    async def send(self, data: str | bytes) -> None:
        self.sent.append(data)


def _link(replay: Replay, wire: _Wire, *, start: int = 0, encoding: str = "pcm_s16le") -> Link:
    options = STTOptions(model="whisper", language="en", encoding=encoding)
    protocol = PROTOCOLS["whisper"](options)
    return Link(
        wire,
        protocol,
        replay,
        start=start,
        opened=0.0,
        speed=None,
        answer_timeout=5.0,
        check_interval=5.0,
    )


_STEPS = st.lists(
    st.integers(min_value=1, max_value=3000) | st.just("flush") | st.just("send"), max_size=30
)


@settings(deadline=None)
@given(steps=_STEPS, restart=st.integers(min_value=0, max_value=20000))
def test_whatever_comes_in_goes_out_in_whole_frames_in_order(steps, restart):
    """The audio sent, without the silence that was put in, is the audio that came in."""

    async def run() -> None:
        replay, wire = Replay(), _Wire()
        link = _link(replay, wire)
        count = 0
        truth = np.zeros(0, dtype=np.int16)
        for step in steps:
            if step == "flush":
                replay.mark()
            elif step == "send":
                await link.catch_up()
            else:
                # Never 0, so that silence that was put in can be told apart.
                pcm = (np.arange(count, count + step) % 30000 + 1).astype(np.int16)
                truth = np.concatenate([truth, pcm])
                count += step
                replay.append(pcm.tobytes())
        await link.end()
        _compare(wire, link, truth, 0)
        again = _Wire()
        start = min(restart, count)
        second = _link(replay, again, start=start)
        await second.end()
        _compare(again, second, truth[start:], start)

    asyncio.run(run())


def _compare(wire: _Wire, link: Link, truth: np.ndarray, start: int) -> None:
    frames = [data for data in wire.sent if isinstance(data, bytes)]
    assert all(len(frame) == 1024 for frame in frames)
    sent = np.frombuffer(b"".join(frames), dtype=np.int16)
    spoken = np.flatnonzero(sent)
    assert (sent[spoken] == truth).all()
    for at in spoken[:: max(1, len(spoken) // 50)]:
        position = link.timeline.position(at / 16000)
        assert truth[position - start] == sent[at]


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000)), max_size=10), st.data())
def test_times_never_run_backwards(pieces, data):
    timeline = Timeline(start=77, sample_rate=16000)
    position = 77
    for spoken, put_in in pieces:
        position += spoken
        timeline.insert(position, put_in)
    end = sum(a + b for a, b in pieces) / 16000
    times = sorted(data.draw(st.lists(st.floats(0, end + 1), max_size=10)))
    positions = [timeline.position(t) for t in times]
    assert positions == sorted(positions)
    assert all(p >= 77 for p in positions)


@given(st.lists(st.integers(min_value=-32768, max_value=32767), min_size=1, max_size=200))
def test_mulaw_is_within_its_quantisation(samples):
    pcm = np.array(samples, dtype=np.int16)
    coded = np.frombuffer(encode_mulaw(pcm.tobytes()), dtype=np.uint8)
    code = (~coded).astype(np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    decoded = np.where(code & 0x80, -magnitude, magnitude)
    linear = np.clip(pcm.astype(np.int32), -32635, 32635)
    assert (np.abs(decoded - linear) <= np.maximum(8, (np.abs(linear) + 132) / 16)).all()


def test_stereo_is_mixed_down():
    both = np.array([[100, 300], [-5, 5]], dtype=np.int16)
    mono = downmix(rtc.AudioFrame(both.tobytes(), 16000, 2, 2))
    assert (mono.num_channels, mono.samples_per_channel) == (1, 2)
    assert np.frombuffer(mono.data, dtype=np.int16).tolist() == [200, 0]


@pytest.mark.parametrize(
    ("rate", "frame"), [(48000, 480), (24000, 1200), (8000, 161), (44100, 441), (16000, 1)]
)
async def test_any_rate_and_size_is_heard(rig: Rig, rate: int, frame: int):
    stream = rig.stt().stream(conn_options=FAST)
    pcm, said = speak("one two three", rate=rate)
    push(stream, np.concatenate([silence(0.5, rate=rate), pcm]), rate=rate, frame=frame)
    stream.end_input()
    events = await collect(stream)
    assert finals(events) == ["one two three"]
    (session,) = rig.sandbox.sessions
    assert {len(f) for f in session.received_frames} == {1024}
    usage = sum(e.recognition_usage.audio_duration for e in events if e.recognition_usage)
    assert usage == pytest.approx(0.5 + len(pcm) / rate, abs=0.001)
    final = next(e for e in events if e.type.value == "final_transcript")
    starts = [w.start_time for w in final.alternatives[0].words]
    assert starts == pytest.approx([0.5 + w.start for w in said], abs=0.02)


async def test_stereo_is_heard_at_its_own_speed(rig: Rig):
    stream = rig.stt().stream(conn_options=FAST)
    pcm, _ = speak("left and right", rate=48000)
    for at in range(0, len(pcm), 480):
        both = np.repeat(pcm[at : at + 480], 2)
        stream.push_frame(rtc.AudioFrame(both.tobytes(), 48000, 2, len(both) // 2))
    stream.end_input()
    assert finals(await collect(stream)) == ["left and right"]


async def test_mulaw_goes_out_as_mulaw(http_session: aiohttp.ClientSession):
    async with Sandbox(transcriber="tones", synthesizer="tones") as sandbox:
        rig = Rig(sandbox, http_session)
        stream = rig.stt(encoding="pcm_mulaw").stream(conn_options=FAST)
        pcm, said = speak("by telephone")
        push(stream, np.concatenate([silence(0.4), pcm]))
        stream.end_input()
        events = await collect(stream)
        (session,) = sandbox.sessions
        assert finals(events) == ["by telephone"]
        metadata = session.received_json[0]["streaming_params"]
        assert (metadata["encoding"], metadata["sample_rate"]) == ("pcm_mulaw", 8000)
        assert {len(f) for f in session.received_frames} == {256}
        final = next(e for e in events if e.type.value == "final_transcript")
        starts = [w.start_time for w in final.alternatives[0].words]
        assert starts == pytest.approx([0.4 + w.start for w in said], abs=0.03)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"sample_rate": 24000}, "sample_rate"),
        ({"buffer_size_seconds": 0.1}, "buffer_size_seconds"),
        ({"sample_rate": 24000, "encoding": "pcm_mulaw"}, "sample_rate"),
    ],
)
async def test_what_has_no_effect_is_named(rig: Rig, caplog, options, name):
    rig.stt(**options)
    (record,) = [r for r in caplog.records if r.name == "livekit.plugins.baseten.stt"]
    assert name in record.getMessage()


def test_wall_times_stand_still_while_the_microphone_is_muted(monkeypatch):
    from livekit.plugins.baseten_stt import timeline

    now = 1000.0
    monkeypatch.setattr(timeline.time, "time", lambda: now)
    clock = timeline.WallClock(16000)
    for end in range(800, 32001, 800):
        now += 0.05
        clock.heard(end)
    now += 60.0  # muted
    for end in range(32800, 64001, 800):
        now += 0.05
        clock.heard(end)
    assert clock.at(16000) == pytest.approx(1001.0, abs=0.3)
    assert clock.at(33600) == pytest.approx(1062.1, abs=0.3)
    assert clock.at(64000) == pytest.approx(1064.0, abs=0.3)
    assert clock.at(99999) == now
