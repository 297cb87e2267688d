"""Speech in a real AgentSession: whole, interrupted, and failing."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator

import pytest

from livekit import rtc
from livekit.agents import Agent, AgentSession, APIConnectOptions, ErrorEvent, tts as agents_tts
from livekit.agents.types import TimedString
from livekit.agents.voice import io
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.plugins.baseten_sandbox import Fault, Sandbox

from .conftest import Make, heard

BOTH = pytest.mark.parametrize("over", ["http", "websocket"])
TEXT = "Good morning, this is Tara. What can I do for you today?"


class Ear(io.AudioOutput):
    """Takes speech as fast as it comes, and has played it when it is asked to finish."""

    def __init__(self) -> None:
        super().__init__(
            label="ear", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=24000
        )
        self.audio = b""
        self.first = asyncio.Event()
        self._seconds = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._seconds:
            self.on_playback_started(created_at=time.time())
        self.audio += bytes(frame.data)
        self._seconds += frame.duration
        self.first.set()

    def flush(self) -> None:
        super().flush()
        self._finish(interrupted=False)

    def clear_buffer(self) -> None:
        self._finish(interrupted=True)

    def _finish(self, *, interrupted: bool) -> None:
        if self._seconds:
            self.on_playback_finished(playback_position=self._seconds, interrupted=interrupted)
        self._seconds = 0.0


@pytest.fixture
async def start() -> AsyncIterator[object]:
    sessions: list[AgentSession] = []

    async def start(tts: agents_tts.TTS, **options: object) -> tuple[AgentSession, Ear]:
        session: AgentSession = AgentSession(
            tts=tts,
            conn_options=SessionConnectOptions(
                tts_conn_options=APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=30.0)
            ),
            **options,  # type: ignore[arg-type]
        )
        ear = Ear()
        session.output.audio = ear
        await session.start(Agent(instructions="be brief"))
        sessions.append(session)
        return session, ear

    yield start
    for session in sessions:
        await session.aclose()
    sessions.clear()
    # LiveKit leaves the exception of a failed turn in a task that nobody asks; it is logged now
    # rather than in the middle of something else.
    gc.collect()


@BOTH
async def test_an_agent_says_every_word(make: Make, start, over: str) -> None:  # type: ignore[no-untyped-def]
    session, ear = await start(make(over))
    await session.say(TEXT)
    assert heard(ear.audio) == TEXT.split()


@BOTH
async def test_an_agent_says_the_words_of_a_language_model(make: Make, start, over: str) -> None:  # type: ignore[no-untyped-def]
    async def deltas() -> AsyncIterator[str]:
        for i in range(0, len(TEXT), 3):
            yield TEXT[i : i + 3]
            await asyncio.sleep(0)

    session, ear = await start(make(over))
    await session.say(deltas())
    assert heard(ear.audio) == TEXT.split()


@BOTH
async def test_an_interrupted_agent_hangs_up_and_speaks_again(  # type: ignore[no-untyped-def]
    make: Make, start, sandbox: Sandbox, over: str
) -> None:
    # The first connection takes it, which LiveKit has dialled ahead where that is a WebSocket.
    sandbox.faults.add(Fault(do="mute", on="send", kind="binary", after=4))
    session, ear = await start(make(over))
    speech = session.say("one two three four five six seven eight nine ten eleven.")
    await ear.first.wait()
    used = next(s for s in sandbox.sessions if s.received_texts)
    await sandbox.wait_for(lambda: used.faults == ["mute"])
    assert not used.closed
    before = time.monotonic()
    await speech.interrupt()
    await sandbox.wait_for(lambda: used.closed)
    assert used.closed_by == "client"
    assert time.monotonic() - before < 10.0  # didn't wait for the stalled server
    ear.audio = b""
    await session.say("Sorry, go on.")
    assert heard(ear.audio) == ["Sorry,", "go", "on."]


@BOTH
async def test_a_failing_agent_reports_and_goes_on(  # type: ignore[no-untyped-def]
    make: Make, start, sandbox: Sandbox, over: str
) -> None:
    session, ear = await start(make(over, warm_sockets=0))
    errors: list[ErrorEvent] = []
    session.on("error", errors.append)
    sandbox.faults.add(Fault(do="reset", on="send", kind="binary", after=4))
    await session.say("one two three four five six.")
    assert [error.error.recoverable for error in errors] == [False]
    assert heard(ear.audio)[0] == "one"
    ear.audio = b""
    await session.say("And again.")
    assert heard(ear.audio) == ["And", "again."]


async def test_aligned_words_are_the_transcript(make: Make, start, sandbox: Sandbox) -> None:  # type: ignore[no-untyped-def]
    pieces: list[str] = []

    class Eye(io.TextOutput):
        def __init__(self) -> None:
            super().__init__(label="eye", next_in_chain=None)

        async def capture_text(self, text: str) -> None:
            pieces.append(text)

        def flush(self) -> None:
            pass

    tts = make(
        sandbox.url("qwentts2", "websocket"),
        model="qwen3-tts",
        voice="vivian",
        task_type="CustomVoice",
        word_timestamps=True,
    )
    session, ear = await start(tts, use_tts_aligned_transcript=True)
    session.output.transcription = Eye()
    await session.say(TEXT)
    assert heard(ear.audio) == TEXT.split()
    assert "".join(pieces) == TEXT
    assert len(pieces) > 5
    assert all(isinstance(piece, TimedString) for piece in pieces)
