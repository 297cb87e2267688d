"""One utterance is one segment; turns of speech begin and end; an answer is one message."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from livekit.agents import APIConnectOptions
from livekit.agents.llm import ChatContext
from livekit.agents.stt import SpeechEventType
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak

from .uses import ASKED, SAID, USES, WARM, Use, frames, heard

CONN = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=5.0)
BOUND = 30.0
TURNS = ["one two three", "four", "five six"]


def those(kind: str, *, streamed: bool | None = None) -> Any:
    uses = [u for u in USES + WARM if u.kind == kind and streamed in (None, u.streamed)]
    return pytest.mark.parametrize("use", uses, ids=lambda use: use.name)


async def spoken(use: Use, model: Any) -> list[Any]:
    """The events of SAID."""
    if not use.streamed:
        async with model.synthesize(SAID, conn_options=CONN) as stream:
            return [event async for event in stream]
    async with model.stream(conn_options=CONN) as stream:
        for piece in ("one t", "wo th", "ree"):
            stream.push_text(piece)
        stream.end_input()
        return [event async for event in stream]


@pytest.mark.parametrize("fails", [0, 2])
@those("tts")
async def test_an_utterance_is_one_segment(
    use: Use, fails: int, sandbox: Sandbox, watch: Any
) -> None:
    model = watch(use.make(sandbox)).model
    ids = set()
    for _ in range(2):
        if fails:
            faults = [Fault(do="status", status=503), Fault(do="status", status=502)]
            for fault in faults:
                sandbox.faults.add(fault)
        events = await asyncio.wait_for(spoken(use, model), BOUND)
        assert heard(b"".join(bytes(event.frame.data) for event in events)) == SAID
        assert [event.is_final for event in events] == [False] * (len(events) - 1) + [True]
        # LiveKit's outputs cut them into what they play; a tail of 10 ms is held for the last.
        assert all(0 < event.frame.duration <= 1.01 for event in events)
        assert {event.frame.sample_rate for event in events} == {model.sample_rate}
        assert {event.frame.num_channels for event in events} == {1}
        # A listener tells attempts apart by them, and two that were mixed up.
        assert len({event.request_id for event in events}) == 1
        assert len({event.segment_id for event in events}) == 1
        ids.add(events[0].request_id)
    assert "" not in ids
    assert len(ids) == 2


@those("tts", streamed=True)
async def test_what_follows_a_flush_is_another_stream(
    use: Use, sandbox: Sandbox, watch: Any
) -> None:
    model = watch(use.make(sandbox)).model
    async with model.stream(conn_options=CONN) as stream:
        stream.push_text(SAID)
        stream.flush()
        stream.end_input()
        events = [event async for event in stream]
    assert heard(b"".join(bytes(event.frame.data) for event in events)) == SAID
    assert len({event.segment_id for event in events}) == 1


@those("tts")
async def test_nothing_to_say_is_no_segment_and_no_error(
    use: Use, sandbox: Sandbox, watch: Any
) -> None:
    watched = watch(use.make(sandbox))
    if use.streamed:
        async with watched.model.stream(conn_options=CONN) as stream:
            stream.end_input()
            assert [event async for event in stream] == []
    assert not watched.errors
    assert not watched.usage
    assert not sandbox.sessions or use in WARM


@pytest.mark.parametrize("broken", [False, True], ids=["whole", "broken"])
@those("stt", streamed=True)
async def test_turns_begin_and_end(use: Use, broken: bool, sandbox: Sandbox, watch: Any) -> None:
    watched = watch(use.make(sandbox))
    if broken:
        sandbox.faults.add(Fault(do="reset", on="send", after=2))
    said = [np.concatenate([speak(text)[0], silence(1.0)]) for text in TURNS]
    async with watched.model.stream(conn_options=CONN) as stream:
        for frame in frames(np.concatenate([silence(0.2), *said])):
            stream.push_frame(frame)
        stream.end_input()
        events = [event async for event in stream]
    turns = [e for e in events if e.type != SpeechEventType.RECOGNITION_USAGE]
    begun = [e.type == SpeechEventType.START_OF_SPEECH for e in turns]
    ended = [e.type == SpeechEventType.END_OF_SPEECH for e in turns]
    assert begun[0]
    assert ended[-1]
    # Each end is followed by a beginning and the other way round; nothing is said outside.
    speaking = False
    for start, end in zip(begun, ended, strict=True):
        assert start != speaking
        speaking = not end
    finals = [e.alternatives[0] for e in turns if e.type == SpeechEventType.FINAL_TRANSCRIPT]
    assert " ".join(final.text for final in finals) == " ".join(TURNS)
    times = [time for final in finals for time in (final.start_time, final.end_time)]
    assert times == sorted(times)
    assert times[-1] <= sum(map(len, said)) / 16000 + 0.2
    assert watched.recoverable == [True] * len(watched.errors)
    assert bool(watched.errors) is broken


@those("llm")
async def test_an_answer_is_one_message(use: Use, sandbox: Sandbox, watch: Any) -> None:
    model = watch(use.make(sandbox)).model
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=ASKED)
    async with model.chat(chat_ctx=chat_ctx, conn_options=CONN) as stream:
        chunks = [chunk async for chunk in stream]
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.delta.role for chunk in chunks if chunk.delta} == {"assistant"}
    # Usage comes once, after all the words.
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    for before, after in pairwise(chunks):
        assert before.delta or not after.delta
