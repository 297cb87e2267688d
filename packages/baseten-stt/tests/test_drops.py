from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from livekit.agents import APIConnectOptions
from livekit.agents.stt import SpeechEventType
from livekit.plugins.baseten_sandbox import Fault
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak

from .rig import FAST, PAUSE, check_balanced, collect, finals, push, until

_DROPS = [
    Fault(do="reset"),
    Fault(do="eof"),
    *(Fault(do="close", code=code, reason="") for code in (1000, 1001, 1011, 1012, 1013, 1014)),
]


def _ids(fault: Fault) -> str:
    return fault.do if fault.do != "close" else str(fault.code)


@pytest.mark.parametrize("drop", _DROPS, ids=_ids)
@pytest.mark.parametrize("after", [3, 30, 60, 95])
async def test_a_drop_costs_and_doubles_no_word(rig, drop, after):
    rig.sandbox.faults.add(replace(drop, on="receive", kind="binary", after=after))
    stream = rig.stt().stream(conn_options=FAST)
    one, said_one = speak("one two three four")
    two, said_two = speak("five six seven")
    pcm = np.concatenate([silence(0.3), one, PAUSE, two, PAUSE])
    push(stream, pcm)
    stream.end_input()
    events = await collect(stream)
    check_balanced(events)
    assert finals(events) == ["one two three four", "five six seven"]
    assert len(rig.sandbox.sessions) == 2
    words = [
        w
        for e in events
        if e.type == SpeechEventType.FINAL_TRANSCRIPT
        for w in e.alternatives[0].words
    ]
    second = 0.3 + (len(one) + len(PAUSE)) / 16000
    truth = [0.3 + w.start for w in said_one] + [second + w.start for w in said_two]
    assert [w.start_time for w in words] == pytest.approx(truth, abs=0.02)


@pytest.mark.parametrize("drop", _DROPS, ids=_ids)
async def test_what_has_its_final_is_not_heard_again(rig, drop):
    stream = rig.stt().stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("said and done")[0], PAUSE]))
    events = await until(stream, SpeechEventType.END_OF_SPEECH)
    await rig.sandbox.strike(drop)
    await rig.sandbox.wait_sessions(2)
    push(stream, np.concatenate([speak("now this")[0], PAUSE]))
    stream.end_input()
    events += await collect(stream)
    check_balanced(events)
    assert finals(events) == ["said and done", "now this"]


@pytest.mark.timeout(300)
async def test_an_hour_with_a_hundred_random_drops(rig):
    """Reset, 1001, 1006, 1011, 1012, 1013 and silence, each at a random moment."""
    chance = random.Random(7)
    stt = rig.stt(dead_link_timeout=0.5, partial_transcript_interval_s=2.0)
    stream = stt.stream(conn_options=APIConnectOptions(max_retry=5, retry_interval=0.02, timeout=5))
    kinds = [
        Fault(do="reset"),
        Fault(do="eof"),
        Fault(do="silence"),
        *(Fault(do="close", code=code) for code in (1001, 1011, 1012, 1013)),
    ]
    seconds = 3600
    drops = sorted(chance.uniform(5, seconds - 5) for _ in range(105))
    truth: list[tuple[str, float]] = []
    events: list = []

    turns = 0
    heard = asyncio.Event()

    async def listen() -> None:
        nonlocal turns
        async for event in stream:
            events.append(event)
            turns += event.type == SpeechEventType.END_OF_SPEECH
            heard.set()

    listening = asyncio.create_task(listen())

    def fresh(struck: int) -> bool:
        sessions = rig.sandbox.sessions
        return len(sessions) > struck and bool(sessions[-1].messages)

    ends: list[float] = []
    at, number, struck = 0.0, 0, 0

    while at < seconds:
        pause = silence(chance.choice([0.5, 0.8, 1.5, 4.0, 12.0, 25.0]))
        pcm, said = speak([f"w{number + i}" for i in range(chance.randint(1, 12))])
        number += len(said)
        start = at + len(pause) / 16000
        truth += [(word.text, start + word.start) for word in said]
        ends.append(start + len(pcm) / 16000)
        both = np.concatenate([pause, pcm])
        for cut in range(0, len(both), 8000):
            push(stream, both[cut : cut + 8000])
            at += len(both[cut : cut + 8000]) / 16000
            # As at real speed, what was said a while ago has come back before the next is said.
            due = bisect_left(ends, at - 1.5)
            while turns < due and not listening.done():
                heard.clear()
                await heard.wait()
            if drops and at >= drops[0]:
                drops.pop(0)
                await rig.sandbox.wait_for(partial(fresh, struck))
                struck = len(rig.sandbox.sessions)
                await rig.sandbox.strike(chance.choice(kinds))
        assert not listening.done()
    stream.end_input()
    await asyncio.wait_for(listening, 60)
    check_balanced(events)
    words = [
        w
        for e in events
        if e.type == SpeechEventType.FINAL_TRANSCRIPT
        for w in e.alternatives[0].words
    ]
    assert [str(w) for w in words] == [text for text, _ in truth]
    errors = [abs(w.start_time - at) for w, (_, at) in zip(words, truth, strict=True)]
    print(f"{len(truth)} words, {struck} drops, worst time {max(errors):.3f} s")
    assert max(errors) < 0.08
    assert struck >= 100
