"""Under LiveKit's adapters and in a real session each does what it does alone."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

from livekit import rtc
from livekit.agents import (
    Agent,
    AgentSession,
    APIConnectOptions,
    llm as agents_llm,
    stt as agents_stt,
    tts as agents_tts,
    vad,
)
from livekit.agents.stt import SpeechEventType
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak
from livekit.plugins.baseten_stt import STT
from telephone import Ear, Microphone, frames

from .uses import SAID, USES, Use, heard, question

CONN = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=5.0)
BOUND = 30.0


def named(*names: str) -> Any:
    uses = [use for use in USES if use.name in names]
    assert len(uses) == len(names)
    return pytest.mark.parametrize("use", uses, ids=lambda use: use.name)


class Loudness(vad.VAD):
    """Takes what is loud for speech, and 0.3 s of silence for its end."""

    def __init__(self) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.05))

    def stream(self) -> vad.VADStream:
        return _LoudnessStream(self)


class _LoudnessStream(vad.VADStream):
    async def _main_task(self) -> None:
        speech: list[rtc.AudioFrame] = []
        quiet = 0.0
        async for frame in self._input_ch:
            if not isinstance(frame, rtc.AudioFrame):
                continue
            if np.abs(np.frombuffer(frame.data, np.int16)).max(initial=0) > 300:
                quiet = 0.0
                if not speech:
                    self._tell(vad.VADEventType.START_OF_SPEECH, [frame])
            else:
                quiet += frame.duration
            if speech or not quiet:
                speech.append(frame)
            if speech and quiet > 0.3:
                self._tell(vad.VADEventType.END_OF_SPEECH, [rtc.combine_audio_frames(speech)])
                speech = []

    def _tell(self, type: vad.VADEventType, frames: list[rtc.AudioFrame]) -> None:
        self._event_ch.send_nowait(
            vad.VADEvent(
                type=type,
                samples_index=0,
                timestamp=time.time(),
                speech_duration=0.0,
                silence_duration=0.0,
                frames=frames,
            )
        )


def fallback(use: Use, members: list[Any]) -> Any:
    if use.kind == "stt":
        return agents_stt.FallbackAdapter(
            members, attempt_timeout=5, max_retry_per_stt=0, retry_interval=0.01
        )
    if use.kind == "tts":
        return agents_tts.FallbackAdapter(members, max_retry_per_tts=0)
    return agents_llm.FallbackAdapter(members, attempt_timeout=5)


STREAMED_STT = [use for use in USES if use.kind == "stt" and use.streamed]


@pytest.mark.parametrize(
    "use", [use for use in USES if use not in STREAMED_STT], ids=lambda use: use.name
)
async def test_a_fallback_takes_over_from_one_that_fails(use: Use, sandbox: Sandbox, watch) -> None:
    adapter = fallback(use, [watch(use.make(sandbox)).model for _ in range(2)])
    sandbox.faults.add(Fault(do="status", status=500))
    for _ in range(2):
        assert await asyncio.wait_for(use.run(adapter, CONN), BOUND) == SAID
    await adapter.aclose()


@pytest.mark.parametrize("use", STREAMED_STT, ids=lambda use: use.name)
async def test_a_fallback_takes_over_a_stream(use: Use, sandbox: Sandbox, watch) -> None:
    adapter = fallback(use, [watch(use.make(sandbox)).model for _ in range(2)])
    sandbox.faults.add(Fault(do="status", status=500))
    async with adapter.stream(conn_options=CONN) as stream:
        # What the first was given, the adapter doesn't give the second.
        stream.push_frame(frames(silence(0.05))[0])
        await sandbox.wait_for(lambda: any(s.status == 101 for s in sandbox.sessions))
        for frame in question():
            stream.push_frame(frame)
        stream.end_input()
        finals = [e async for e in stream if e.type == SpeechEventType.FINAL_TRANSCRIPT]
    assert [e.alternatives[0].text for e in finals if e.alternatives[0].text] == [SAID]
    await adapter.aclose()


@named("whisper-batch", "batch-chain", "whisper-recognize", "qwen3-asr-recognize")
async def test_recognition_turn_by_turn(use: Use, sandbox: Sandbox, watch) -> None:
    watched = watch(use.make(sandbox))
    adapter = agents_stt.StreamAdapter(stt=watched.model, vad=Loudness())
    pcm = [np.concatenate([speak(text)[0], silence(0.6)]) for text in ("one two", "three")]
    events = []
    async with adapter.stream(conn_options=CONN) as stream:
        for frame in frames(np.concatenate([silence(0.2), *pcm])):
            stream.push_frame(frame)
        stream.end_input()
        events = [event async for event in stream]
    finals = [e for e in events if e.type == SpeechEventType.FINAL_TRANSCRIPT]
    assert [e.alternatives[0].text for e in finals] == ["one two", "three"]
    assert len(watched.usage) == 2
    await adapter.aclose()


@named(*(use.name for use in USES if use.kind == "tts" and use.name.endswith("synthesize")))
async def test_speech_sentence_by_sentence(use: Use, sandbox: Sandbox, watch) -> None:
    watched = watch(use.make(sandbox))
    adapter = agents_tts.StreamAdapter(tts=watched.model)
    text = "This is the first sentence of two. And this is another one."
    async with adapter.stream(conn_options=CONN) as stream:
        stream.push_text(text)
        stream.end_input()
        said = heard(b"".join([bytes(event.frame.data) async for event in stream]))
    assert said == text
    assert not watched.errors
    await adapter.aclose()


@pytest.mark.parametrize(
    ("model", "deployment"), [("whisper", "whisper1"), ("qwen3-asr", "qwenasr1")]
)
async def test_speakers_are_told_apart(
    model: str, deployment: str, sandbox: Sandbox, watch
) -> None:
    stt = STT(
        model=model,  # type: ignore[arg-type]
        api_key=sandbox.api_key,
        model_endpoint=sandbox.url(deployment, "websocket"),
        whisper_params={"enable_diarization": True} if model == "whisper" else {},
    )
    if model != "whisper":
        with pytest.raises(ValueError, match="diarization"):
            agents_stt.MultiSpeakerAdapter(stt=watch(stt).model)
        return
    said = {
        "type": "transcription",
        "is_final": True,
        "segments": [{"text": "one two three", "start_time": 0.1, "end_time": 1.0, "speaker": 3}],
    }
    adapter = agents_stt.MultiSpeakerAdapter(stt=watch(stt).model, primary_format="<{text}>")
    sandbox.faults.add(Fault(do="replace", on="send", match={"is_final": True}, payload=said))
    async with adapter.stream(conn_options=CONN) as stream:
        for frame in frames(np.concatenate([speak(SAID)[0], silence(0.5)])):
            stream.push_frame(frame)
        stream.end_input()
        finals = [e async for e in stream if e.type == SpeechEventType.FINAL_TRANSCRIPT]
    assert [(e.alternatives[0].speaker_id) for e in finals] == ["3"]
    assert SAID in finals[0].alternatives[0].text
    await adapter.aclose()


TRIOS = [
    ("whisper-stream", "orpheus-ws-stream", "model-api"),
    ("whisper-chain-stream", "orpheus-http-stream", "dedicated"),
    ("qwen3-asr-stream", "qwen3-tts-stream", "model-api"),
    ("whisper-stream", "qwen3-tts-one-shot-stream", "model-api"),
    ("qwen3-asr-stream", "generic-stream", "dedicated"),
]


@pytest.mark.parametrize("names", TRIOS, ids="+".join)
async def test_a_session_hears_asks_and_answers_though_each_fails_once(
    names: tuple[str, str, str], sandbox: Sandbox, watch
) -> None:
    uses = {use.name: use for use in USES}
    watched = [watch(uses[name].make(sandbox)) for name in names]
    for name in names[:2]:
        sandbox.faults.add(Fault(do="reset", on="send"), deployment=uses[name].deployment)
    # The first request of an LLM is that of prewarm(), which leaves a failure to the next.
    sandbox.faults.add(Fault(do="reset", on="send"), deployment="llm1", times=2)
    stt, tts, llm = (each.model for each in watched)
    session: AgentSession = AgentSession(stt=stt, tts=tts, llm=llm, turn_detection="stt", vad=None)
    ear = Ear()
    session.input.audio = Microphone(np.concatenate([silence(0.3), speak("hello there")[0]]))
    session.output.audio = ear
    said: list[Any] = []
    session.on("conversation_item_added", lambda event: said.append(event.item))
    await session.start(Agent(instructions="Count."))
    try:
        await asyncio.wait_for(ear.played.wait(), BOUND)
    finally:
        await session.aclose()
    assert heard(ear.audio) == SAID
    turns = [(item.role, item.text_content) for item in said if item.type == "message"]
    assert turns == [("user", "hello there"), ("assistant", SAID)]
    expected = [True] if names[2] == "dedicated" else []
    assert [each.recoverable for each in watched] == [[True], [True], expected]
