"""Rarer faults: answers in the wrong order, distance, deployments in every state."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from livekit.agents import APIError
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak

from .rig import FAST, PAUSE, Rig, check_balanced, collect, collect_with_error, finals, push

FINAL = {"type": "transcription", "is_final": True}


def say(stream, *texts: str) -> None:
    for text in texts:
        push(stream, np.concatenate([silence(0.3), speak(text)[0], PAUSE]))


async def hear(rig: Rig, *texts: str, **options) -> list[str]:
    stream = rig.stt(**options).stream(conn_options=FAST)
    say(stream, *texts)
    stream.end_input()
    events = await asyncio.wait_for(collect(stream), 30)
    check_balanced(events)
    return finals(events)


async def test_finals_in_the_wrong_order_lose_no_word(rig: Rig):
    rig.sandbox.faults.add(Fault(do="swap", on="send", match=FINAL))
    assert sorted(await hear(rig, "first", "second")) == ["first", "second"]


@pytest.mark.parametrize("interims", [True, False])
async def test_a_final_behind_the_end_is_not_lost(rig: Rig, interims: bool):
    # The final changes places with the confirmation that it should come before. That it is due is
    # known from the interim results, or from the audio alone.
    rig.sandbox.faults.add(Fault(do="swap", on="send", match=FINAL))
    stream = rig.stt(enable_partial_transcripts=interims).stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("one two three four five six")[0]]))
    stream.end_input()
    events = await asyncio.wait_for(collect(stream), 30)
    assert finals(events) == ["one two three four five six"]
    (session,) = rig.sandbox.sessions
    assert session.sent_json[-1].get("is_final") is True


@pytest.mark.parametrize("spoken", [True, False])
async def test_the_end_is_not_held_up_when_all_is_answered(rig: Rig, monkeypatch, spoken: bool):
    monkeypatch.setattr("livekit.plugins.baseten_stt.recognition._LATE", 600.0)
    stream = rig.stt().stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("hello")[0] if spoken else PAUSE, PAUSE]))
    stream.end_input()
    events = await asyncio.wait_for(collect(stream), 30)
    assert finals(events) == ["hello"] * spoken


async def test_an_end_that_looks_fine_in_the_middle_of_the_audio_loses_no_word(rig: Rig):
    rig.sandbox.faults.add(Fault(do="finish", on="receive", kind="binary", after=30))
    words = ["one two three", "four five six"]
    assert " ".join(await hear(rig, *words)).split() == " ".join(words).split()
    assert rig.sandbox.sessions[0].close_code == 1000
    assert len(rig.sandbox.sessions) == 2


async def test_a_crash_after_some_words_loses_none(rig: Rig):
    rig.sandbox.faults.add(Fault(do="reset", on="send", unit="words", after=2))
    words = ["one two", "three four", "five six"]
    assert " ".join(await hear(rig, *words)).split() == " ".join(words).split()
    assert rig.sandbox.sessions[0].faults == ["reset"]


async def test_a_late_final_is_waited_for(rig: Rig):
    rig.sandbox.faults.add(Fault(do="delay", on="send", match=FINAL, seconds=0.5))
    assert await hear(rig, "hello") == ["hello"]
    assert len(rig.sandbox.sessions) == 1


async def test_a_distant_and_narrow_line_changes_nothing(http_session):
    # Four times what speech takes: narrow enough to queue, wide enough to get through.
    async with Sandbox(
        transcriber="tones", synthesizer="tones", round_trip=0.1, bandwidth=128_000
    ) as sandbox:
        rig = Rig(sandbox, http_session)
        try:
            assert await hear(rig, "one two", "three") == ["one two", "three"]
        finally:
            for made in rig.made:
                await made.aclose()


async def test_a_socket_that_has_lived_its_time_is_replaced_without_a_loss(http_session):
    async with Sandbox(transcriber="tones", synthesizer="tones", lifetime=0.3) as sandbox:
        rig = Rig(sandbox, http_session)
        try:
            stream = rig.stt().stream(conn_options=FAST)
            say(stream, "before")
            await sandbox.wait_message(FINAL, direction="sent")
            await sandbox.wait_sessions(1, closed=True)
            say(stream, "after")
            stream.end_input()
            assert finals(await asyncio.wait_for(collect(stream), 30)) == ["before", "after"]
            assert sandbox.sessions[0].close_code == 1001
        finally:
            for made in rig.made:
                await made.aclose()


@pytest.mark.parametrize(("state", "status"), [("deactivated", 404), ("unhealthy", 500)])
async def test_a_deployment_that_is_not_there_is_told_so(rig: Rig, state: str, status: int):
    rig.sandbox.deploy(replace(rig.sandbox.deployment("whisper1"), state=state))
    stream = rig.stt(cold_start_timeout=0.0).stream(conn_options=FAST)
    say(stream, "hello")
    stream.end_input()
    events, error = await asyncio.wait_for(collect_with_error(stream), 30)
    assert finals(events) == []
    assert isinstance(error, APIError)
    assert f"HTTP {status}" in str(error)


async def test_a_sleeping_deployment_is_waited_for(rig: Rig):
    asleep = replace(rig.sandbox.deployment("whisper1"), state="asleep", cold_start=0.3)
    rig.sandbox.deploy(asleep)
    assert await hear(rig, "hello") == ["hello"]


async def test_a_key_that_an_older_runtime_does_not_know_is_named(rig: Rig):
    older = replace(rig.sandbox.deployment("whisper1"), unknown_keys=("show_word_timestamps",))
    rig.sandbox.deploy(older)
    stream = rig.stt().stream(conn_options=FAST)
    say(stream, "hello")
    stream.end_input()
    events, error = await asyncio.wait_for(collect_with_error(stream), 30)
    assert finals(events) == []
    assert error is not None
    assert "show_word_timestamps" in str(error)
