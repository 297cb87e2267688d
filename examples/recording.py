"""The two ends of a conversation with files: a recording that speaks, and a file that listens."""

from __future__ import annotations

import asyncio
import time
import wave
from pathlib import Path

import av

from livekit import rtc
from livekit.agents.voice import io

SAMPLE_RATE = 24000
_MAX_BYTES = 20_000_000
_MAX_SECONDS = 60


def read_recording(path: Path) -> bytes:
    """Decode a file to mono PCM of 16 bits at `SAMPLE_RATE`.

    Raises:
        ValueError: It can't be a question: not there, not sound, empty, or far too long.
    """
    too_long = f"{path} is too long: a question takes {_MAX_SECONDS} s and 20 MB at most"
    pcm = bytearray()
    try:
        # Looked at first, so that a wrong file isn't decoded for minutes.
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(too_long)
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise ValueError(f"{path} holds no sound")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            for decoded in container.decode(audio=0):
                for frame in resampler.resample(decoded):
                    pcm += frame.to_ndarray().tobytes()
                if len(pcm) > _MAX_SECONDS * SAMPLE_RATE * 2:
                    raise ValueError(too_long)
            for frame in resampler.resample(None):
                pcm += frame.to_ndarray().tobytes()
    except av.FFmpegError as error:
        raise ValueError(f"{path} can't be read as audio: {error.strerror}") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
    if not pcm:
        raise ValueError(f"{path} holds no sound")
    return bytes(pcm)


class Microphone(io.AudioInput):
    """Speaks a recording at the pace of live speech, then stays open and silent.

    Args:
        pcm: Mono, 16 bits.
        sample_rate: Its rate in Hz.
    """

    def __init__(self, pcm: bytes, *, sample_rate: int = SAMPLE_RATE) -> None:
        super().__init__(label="recording")
        self.duration = len(pcm) / 2 / sample_rate
        self._pcm = pcm
        self._rate = sample_rate
        self._frame = sample_rate // 50  # samples of 20 ms
        self._sent = 0  # samples
        self._started: float | None = None

    @property
    def silence(self) -> float:
        """Seconds since the recording's end; negative while it speaks."""
        return self._sent / self._rate - self.duration

    async def __anext__(self) -> rtc.AudioFrame:
        if self._started is None:
            self._started = time.monotonic()
        samples = self._pcm[self._sent * 2 : (self._sent + self._frame) * 2]
        self._sent += self._frame
        due = self._started + self._sent / self._rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        return rtc.AudioFrame(samples.ljust(self._frame * 2, b"\0"), self._rate, 1, self._frame)


class Speaker(io.AudioOutput):
    """Keeps what the agent says. Nobody listens, so it plays as fast as speech arrives.

    Args:
        path: The WAV that `save` writes.
    """

    def __init__(self, path: Path) -> None:
        # Better to know now than after the conversation.
        if not path.parent.is_dir():
            raise ValueError(f"{path} can't be written: there is no folder {path.parent}")
        super().__init__(
            label="recording",
            capabilities=io.AudioOutputCapabilities(pause=False),
            sample_rate=SAMPLE_RATE,
        )
        self._path = path
        self._pcm = bytearray()
        self._playing = 0.0  # seconds of the speech that is going on

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._playing:
            self.on_playback_started(created_at=time.time())
        self._playing += frame.duration
        self._pcm += frame.data.cast("B")

    def flush(self) -> None:
        super().flush()
        self._finish(interrupted=False)

    def clear_buffer(self) -> None:
        self._finish(interrupted=True)

    def _finish(self, *, interrupted: bool) -> None:
        played, self._playing = self._playing, 0.0
        if played:
            self.on_playback_finished(playback_position=played, interrupted=interrupted)

    @property
    def duration(self) -> float:
        """Seconds of speech so far."""
        return len(self._pcm) / 2 / SAMPLE_RATE

    def save(self) -> None:
        """Write all that was said."""
        with wave.open(str(self._path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes(self._pcm)
