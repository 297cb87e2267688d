"""Both ends of a call in a test: what the caller says, and what the caller hears."""

from __future__ import annotations

import asyncio
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray

from livekit import rtc
from livekit.agents.voice import io
from livekit.plugins.baseten_sandbox.engines.tones import silence

__all__ = ["Ear", "Microphone", "frames"]

_SPEED = 8.0  # times as fast as a caller speaks


def frames(pcm: NDArray[np.int16]) -> list[rtc.AudioFrame]:
    """Audio at 16 kHz in frames of 50 ms."""
    parts = [pcm[at : at + 800] for at in range(0, len(pcm), 800)]
    return [rtc.AudioFrame(part.tobytes(), 16000, 1, len(part)) for part in parts]


class Microphone(io.AudioInput):
    """Gives what is said into it, faster than real time, and silence for ever between."""

    def __init__(self, pcm: NDArray[np.int16] | None = None) -> None:
        super().__init__(label="microphone")
        self._frames: deque[rtc.AudioFrame] = deque()
        self._silence = frames(silence(0.05))[0]
        self._halfway = 0
        self._half_said = asyncio.Event()
        if pcm is not None:
            self.say(pcm)

    def say(self, pcm: NDArray[np.int16]) -> None:
        """Speak, after all that is still to be said."""
        self._frames.extend(frames(pcm))
        self._halfway = len(self._frames) // 2
        self._half_said.clear()

    async def half_said(self) -> None:
        """Wait until half of what is to be said has been said."""
        await self._half_said.wait()

    async def __anext__(self) -> rtc.AudioFrame:
        await asyncio.sleep(0.05 / _SPEED)
        if len(self._frames) <= self._halfway:
            self._half_said.set()
        return self._frames.popleft() if self._frames else self._silence


class Ear(io.AudioOutput):
    """Takes speech as fast as it comes.

    Attributes:
        audio: All that was heard.
        began: Set when speech comes.
        played: Set when a speech was played to its end.
        interrupted: How many speeches were cut short.
        holds: Take no more than the beginning, as a loudspeaker that still plays it.
    """

    def __init__(self) -> None:
        super().__init__(
            label="ear", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=24000
        )
        self.audio = b""
        self.began = asyncio.Event()
        self.played = asyncio.Event()
        self.interrupted = 0
        self.holds = False
        self._seconds = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._seconds:
            self.on_playback_started(created_at=time.time())
        self.audio += bytes(frame.data)
        self._seconds += frame.duration
        self.began.set()
        if self.holds:
            await asyncio.Event().wait()

    def flush(self) -> None:
        super().flush()
        if self.holds:
            return
        self._finish(interrupted=False)
        self.played.set()

    def clear_buffer(self) -> None:
        self._finish(interrupted=True)

    def _finish(self, *, interrupted: bool) -> None:
        if self._seconds:
            self.interrupted += interrupted
            self.on_playback_finished(playback_position=self._seconds, interrupted=interrupted)
        self._seconds = 0.0
