"""Deployments that are scaled to zero: words that wait for them, and streams that don't."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import replace

import numpy as np
import pytest

from livekit.agents import APIConnectOptions, APIError, APITimeoutError
from livekit.plugins.baseten_common import Transport
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak
from livekit.plugins.baseten_stt import STT

from .rig import PAUSE, Rig, collect, finals, push

BOUND = 30.0  # seconds; only a hang reaches it
HASTY = APIConnectOptions(max_retry=3, retry_interval=0.01, timeout=1.0)


def say(stream, text: str) -> None:
    push(stream, np.concatenate([silence(0.3), speak(text)[0], PAUSE]))


def put_to_sleep(rig: Rig, cold_start: float) -> None:
    asleep = replace(rig.sandbox.deployment("whisper1"), state="asleep", cold_start=cold_start)
    rig.sandbox.deploy(asleep)


async def test_a_parked_handshake_is_waited_for(rig: Rig):
    put_to_sleep(rig, 2.0)
    stream = rig.stt().stream(conn_options=HASTY)
    say(stream, "good morning")
    stream.end_input()
    assert finals(await asyncio.wait_for(collect(stream), BOUND)) == ["good morning"]
    assert len(rig.sandbox.sessions) == 1


async def test_retries_don_t_multiply_the_wait(rig: Rig):
    rig.sandbox.faults.add(Fault(do="park"), times=None)
    stream = rig.stt(cold_start_timeout=1.5).stream(conn_options=HASTY)
    say(stream, "anybody")
    with pytest.raises(APITimeoutError, match=r"didn't answer within 1\.5 s") as caught:
        await asyncio.wait_for(collect(stream), BOUND)
    assert not caught.value.retryable
    assert len(rig.sandbox.sessions) == 1


async def test_recognize_waits_as_long_and_no_longer(rig: Rig):
    rig.sandbox.faults.add(Fault(do="status", status=504), times=None)
    stt = rig.stt(cold_start_timeout=0.5)
    push(recording := _Recording(), speak("hello")[0])
    with pytest.raises(APIError, match=r"didn't answer within 0\.5 s"):
        await asyncio.wait_for(stt.recognize(recording.frames, conn_options=HASTY), BOUND)
    assert len(rig.sandbox.sessions) == 1


class _Recording:
    def __init__(self) -> None:
        self.frames = []

    def push_frame(self, frame) -> None:
        self.frames.append(frame)


async def test_retries_of_an_outage_share_its_time(rig: Rig, monkeypatch):
    asked = []
    connect = Transport.connect

    async def spy(self, *args, since, **options):
        asked.append(since)
        return await connect(self, *args, since=since, **options)

    monkeypatch.setattr(Transport, "connect", spy)
    rig.sandbox.faults.add(Fault(do="status", status=429), times=2)
    rig.sandbox.faults.add(Fault(do="reset", on="receive", kind="binary", after=20))
    stream = rig.stt().stream(conn_options=HASTY)
    say(stream, "once more")
    stream.end_input()
    assert finals(await asyncio.wait_for(collect(stream), BOUND)) == ["once more"]
    first, second, third, after_the_reset = asked
    assert first == second == third < after_the_reset


async def test_a_reconnection_that_is_parked_loses_no_word(rig: Rig):
    rig.sandbox.faults.add(Fault(do="reset", on="receive", kind="binary", after=20))
    rig.sandbox.faults.add(Fault(do="park", seconds=2.0))
    stream = rig.stt().stream(conn_options=HASTY)
    say(stream, "one two three")
    say(stream, "four five")
    stream.end_input()
    events = await asyncio.wait_for(collect(stream), BOUND)
    assert finals(events) == ["one two three", "four five"]
    assert len(rig.sandbox.sessions) == 2


async def test_the_first_stream_takes_over_a_parked_connection(rig: Rig):
    put_to_sleep(rig, 2.0)
    stt = rig.stt()
    reused = []
    stt.on("metrics_collected", lambda m: reused.append(m.connection_reused))
    stt.prewarm()
    await rig.sandbox.wait_sessions(1)
    stream = stt.stream(conn_options=HASTY)
    say(stream, "good morning")
    stream.end_input()
    assert finals(await asyncio.wait_for(collect(stream), BOUND)) == ["good morning"]
    assert len(rig.sandbox.sessions) == 1
    assert reused[0] is True


async def test_a_stream_that_took_over_a_parked_connection_walks_away_at_once(rig: Rig):
    rig.sandbox.faults.add(Fault(do="park"), times=None)
    stt = rig.stt()
    stt.prewarm()
    (session,) = await rig.sandbox.wait_sessions(1)
    stream = stt.stream(conn_options=HASTY)
    say(stream, "never mind")
    for _ in range(20):  # turns of the loop, in which the stream takes it
        await asyncio.sleep(0)
    assert stt._dialer._warm is None
    start = time.monotonic()
    await stream.aclose()
    assert time.monotonic() - start < 2
    await rig.sandbox.wait_for(lambda: session.closed)


async def test_closing_gives_up_a_parked_connection(rig: Rig):
    rig.sandbox.faults.add(Fault(do="park"), times=None)
    stt = rig.stt()
    stt.prewarm()
    (session,) = await rig.sandbox.wait_sessions(1)
    start = time.monotonic()
    await stt.aclose()
    assert time.monotonic() - start < 2
    await rig.sandbox.wait_for(lambda: session.closed)


async def test_a_dropped_stt_gives_up_a_parked_connection(sandbox: Sandbox, http_session):
    sandbox.faults.add(Fault(do="park"), times=None)
    stt = STT(
        api_key=sandbox.api_key, model_endpoint=sandbox.stt_endpoint, http_session=http_session
    )
    stt.prewarm()
    (session,) = await sandbox.wait_sessions(1)
    del stt
    gc.collect()
    await sandbox.wait_for(lambda: session.closed)
