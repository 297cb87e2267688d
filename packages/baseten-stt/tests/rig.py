from __future__ import annotations

import aiohttp
import numpy as np

from livekit import rtc
from livekit.agents import APIConnectOptions
from livekit.agents.stt import SpeechEvent, SpeechEventType
from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import silence
from livekit.plugins.baseten_stt import STT, SpeechStream


class Rig:
    """A sandbox and STT objects on it."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session
        self.made: list[STT] = []

    def stt(self, **options) -> STT:
        options.setdefault("model_endpoint", self.sandbox.stt_endpoint)
        options.setdefault("replay_speed", None)
        made = STT(api_key=self.sandbox.api_key, http_session=self.session, **options)
        self.made.append(made)
        return made


FAST = APIConnectOptions(max_retry=3, retry_interval=0.05, timeout=5.0)


def push(stream: SpeechStream, pcm: np.ndarray, *, rate: int = 16000, frame: int = 800) -> None:
    for at in range(0, len(pcm), frame):
        part = pcm[at : at + frame]
        stream.push_frame(rtc.AudioFrame(part.tobytes(), rate, 1, len(part)))


async def collect(stream: SpeechStream) -> list[SpeechEvent]:
    return [event async for event in stream]


async def collect_with_error(stream: SpeechStream) -> tuple[list[SpeechEvent], Exception | None]:
    events: list[SpeechEvent] = []
    try:
        while True:
            events.append(await stream.__anext__())
    except StopAsyncIteration:
        return events, None
    except Exception as error:
        return events, error


async def until(stream: SpeechStream, kind: SpeechEventType) -> list[SpeechEvent]:
    seen = []
    async for event in stream:
        seen.append(event)
        if event.type == kind:
            return seen
    raise AssertionError(f"the stream ended without {kind}")


def finals(events: list[SpeechEvent]) -> list[str]:
    return [e.alternatives[0].text for e in events if e.type == SpeechEventType.FINAL_TRANSCRIPT]


def kinds(events: list[SpeechEvent]) -> list[str]:
    return [e.type.value for e in events if e.type != SpeechEventType.RECOGNITION_USAGE]


def check_balanced(events: list[SpeechEvent]) -> None:
    speaking = False
    for event in events:
        if event.type == SpeechEventType.START_OF_SPEECH:
            assert not speaking
            speaking = True
        elif event.type == SpeechEventType.END_OF_SPEECH:
            assert speaking
            speaking = False
        elif event.type != SpeechEventType.RECOGNITION_USAGE:
            assert speaking
    assert not speaking


PAUSE = silence(0.6)
