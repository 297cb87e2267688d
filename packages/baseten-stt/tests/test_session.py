from __future__ import annotations

import asyncio

import numpy as np
import pytest

from livekit import rtc
from livekit.agents import Agent, AgentSession, APIConnectOptions, llm
from livekit.agents.voice.io import AudioInput
from livekit.plugins.baseten_sandbox import Fault
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak


class _Microphone(AudioInput):
    """Plays a recording in real time, then silence for ever."""

    def __init__(self, pcm: np.ndarray, speed: float) -> None:
        super().__init__(label="microphone")
        self._frames = [pcm[at : at + 800] for at in range(0, len(pcm), 800)]
        self._pause = 0.05 / speed

    async def __anext__(self) -> rtc.AudioFrame:
        await asyncio.sleep(self._pause)
        part = self._frames.pop(0) if self._frames else silence(0.05)
        return rtc.AudioFrame(part.tobytes(), 16000, 1, len(part))


class _Echo(llm.LLM):
    def chat(self, *, chat_ctx, tools=None, conn_options=None, **_):
        return _EchoStream(
            self,
            chat_ctx=chat_ctx,
            tools=tools or [],
            conn_options=conn_options or APIConnectOptions(),
        )


class _EchoStream(llm.LLMStream):
    async def _run(self) -> None:
        heard = [item for item in self._chat_ctx.items if getattr(item, "role", "") == "user"][-1]
        delta = llm.ChoiceDelta(role="assistant", content=f"You said: {heard.text_content}")
        self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=delta))


@pytest.mark.parametrize("drop", [False, True])
async def test_a_session_answers_at_the_end_of_speech(rig, drop: bool):
    if drop:
        rig.sandbox.faults.add(Fault(do="reset", on="receive", kind="binary", after=35))
    pcm, _ = speak("what is the weather today")
    session = AgentSession(stt=rig.stt(), llm=_Echo(), turn_detection="stt", vad=None)
    session.input.audio = _Microphone(np.concatenate([silence(0.3), pcm]), 4.0)
    answered = asyncio.get_running_loop().create_future()
    states = []
    session.on("user_state_changed", lambda ev: states.append(ev.new_state))

    def added(ev) -> None:
        if ev.item.role == "assistant" and not answered.done():
            answered.set_result(ev.item.text_content)

    session.on("conversation_item_added", added)
    await session.start(Agent(instructions="Repeat."))
    try:
        answer = await asyncio.wait_for(answered, 20)
    finally:
        await session.aclose()
    assert answer == "You said: what is the weather today"
    assert states[:2] == ["speaking", "listening"]
    assert len(rig.sandbox.sessions) == 1 + drop
