"""An agent on the telephone: µ-law at 8 kHz both ways, in packets of 20 ms, as carriers send it.

    uv run examples/phone.py [caller.wav] [--output agent.ulaw]

A file named .ulaw is taken for what a carrier sends; any other recording is brought into that form first.
What the agent says is written as it would go to the carrier; `ffplay -f mulaw -ar 8000 agent.ulaw` plays it.

The plugins take frames of any rate, so µ-law is decoded here and goes to Baseten as PCM.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dialogue import Dialogue, DialogueError
from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.agents.voice import io
from livekit.plugins import baseten
from recording import SAMPLE_RATE, Microphone, read_recording
from startup import EXAMPLE, models, run

RATE = 8000
PACKET = RATE // 50  # samples, and bytes, of 20 ms


def _level(code: int) -> int:
    # ITU-T G.711: all bits are sent inverted; sign, three bits of exponent, four of mantissa.
    bits = ~code & 0xFF
    magnitude = (((bits & 0xF) * 8 + 132) << (bits >> 4 & 7)) - 132
    return -magnitude if bits & 0x80 else magnitude


_LEVELS = np.array([_level(code) for code in range(256)], np.int16)
_CODES = np.argsort(_LEVELS, kind="stable").astype(np.uint8)
_BORDERS = (_LEVELS[_CODES][1:].astype(np.int32) + _LEVELS[_CODES][:-1]) / 2


def decode(mulaw: bytes) -> NDArray[np.int16]:
    """Turn µ-law into PCM."""
    return _LEVELS[np.frombuffer(mulaw, np.uint8)]


def encode(pcm: NDArray[np.int16]) -> bytes:
    """Turn PCM into µ-law: each sample goes to the nearest level."""
    return _CODES[np.searchsorted(_BORDERS, pcm, side="right")].tobytes()


class Caller(Microphone):
    """The caller's end of the line: packets come in at the pace of speech."""

    def __init__(self, mulaw: bytes) -> None:
        super().__init__(decode(mulaw).tobytes(), sample_rate=RATE)


class Earpiece(io.AudioOutput):
    """What goes out to the caller. LiveKit resamples speech to the rate that is named here."""

    def __init__(self) -> None:
        super().__init__(
            label="phone", capabilities=io.AudioOutputCapabilities(pause=False), sample_rate=RATE
        )
        self.packets: list[bytes] = []
        self._speech = b""
        self._playing = 0.0  # seconds

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._playing:
            self.on_playback_started(created_at=time.time())
        self._playing += frame.duration
        self._speech += encode(np.frombuffer(frame.data, np.int16))
        while len(self._speech) >= PACKET:
            self.packets.append(self._speech[:PACKET])
            self._speech = self._speech[PACKET:]

    def flush(self) -> None:
        super().flush()
        if self._speech:
            # A carrier takes whole packets: silence fills the last one up.
            self.packets.append(self._speech.ljust(PACKET, encode(np.zeros(1, np.int16))))
        self._finish(interrupted=False)

    def clear_buffer(self) -> None:
        # With a real carrier this is also where its buffer is told to be cleared.
        self._finish(interrupted=True)

    def _finish(self, *, interrupted: bool) -> None:
        played, self._playing, self._speech = self._playing, 0.0, b""
        if played:
            self.on_playback_finished(playback_position=played, interrupted=interrupted)

    def save(self, path: Path) -> None:
        path.write_bytes(b"".join(self.packets))
        print(f"{path}: {len(self.packets)} packets of {PACKET} bytes")


async def main(recording: Path, output: Path) -> None:
    caller, earpiece = Caller(read_call(recording)), Earpiece()
    async with models():
        session: AgentSession[None] = AgentSession(
            stt=baseten.STT(),
            llm=baseten.LLM(),
            tts=baseten.TTS(),
            vad=None,
            turn_handling={"turn_detection": "stt"},
        )
        session.input.audio, session.output.audio = caller, earpiece
        dialogue = Dialogue(session)
        await session.start(Agent(instructions="You answer the phone. Be short."))
        try:
            await dialogue.answered(caller, patience=60)
        except DialogueError as error:
            raise ValueError(str(error)) from None
        finally:
            await asyncio.wait_for(session.aclose(), 10)
    for message in dialogue.messages:
        print(f"{'Caller:' if message.role == 'user' else 'Agent:':<7} {message.text_content}")
    earpiece.save(output)


def read_call(recording: Path) -> bytes:
    """What a carrier would send, were this recording on the line."""
    if recording.suffix == ".ulaw":
        return recording.read_bytes()
    pcm = read_recording(recording)
    line = rtc.AudioResampler(SAMPLE_RATE, RATE)
    frames = [*line.push(bytearray(pcm)), *line.flush()]
    return b"".join(encode(np.frombuffer(frame.data, np.int16)) for frame in frames)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Talk with an agent over a telephone line.")
    parser.add_argument("recording", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--output", type=Path, default=Path("agent.ulaw"))
    options = parser.parse_args()
    run(main(options.recording, options.output))
