"""WAV files in memory, and other audio files where a decoder is at hand."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["read_audio", "wav"]


def wav(pcm: bytes, rate: int) -> bytes:
    """PCM s16le, mono, as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(pcm)
    return file.getvalue()


def read_audio(data: bytes) -> NDArray[np.int16]:
    """Decode an audio file to mono at 16 kHz.

    Raises:
        ValueError: It isn't an audio file.
    """
    import numpy as np

    try:
        with wave.open(io.BytesIO(data)) as reader:
            if reader.getsampwidth() == 2 and reader.getframerate() == 16000:
                channels = reader.getnchannels()
                samples = np.frombuffer(reader.readframes(reader.getnframes()), dtype="<i2")
                mixed = samples.reshape(-1, channels).mean(axis=1)
                return np.asarray(np.round(mixed), dtype=np.int16)
    except (wave.Error, EOFError):
        pass
    from faster_whisper.audio import decode_audio  # type: ignore[import-untyped]

    try:
        decoded = decode_audio(io.BytesIO(data), sampling_rate=16000)
    except Exception as error:
        raise ValueError(f"not an audio file: {type(error).__name__}") from None
    return np.asarray(np.round(np.clip(decoded, -1.0, 1.0) * 32767.0), dtype=np.int16)
