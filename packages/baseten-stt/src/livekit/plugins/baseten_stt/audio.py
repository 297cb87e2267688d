"""Audio as it goes on the wire."""

from __future__ import annotations

import numpy as np

from livekit import rtc

__all__ = ["downmix", "encode_mulaw", "is_louder"]


def downmix(frame: rtc.AudioFrame) -> rtc.AudioFrame:
    """One channel, the mean of all. A frame of one channel is returned as it is."""
    if frame.num_channels == 1:
        return frame
    samples = np.frombuffer(frame.data, dtype=np.int16).reshape(-1, frame.num_channels)
    mono = samples.mean(axis=1).round().astype(np.int16)
    return rtc.AudioFrame(mono.tobytes(), frame.sample_rate, 1, len(mono))


def _mulaw_table() -> bytes:
    # G.711: sign, three bits of exponent, four of mantissa, all inverted.
    linear = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.minimum(np.abs(linear), 32635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    sign = np.where(linear < 0, 0x80, 0)
    table: bytes = (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8).tobytes()
    return table


_table: list[np.ndarray] = []


def encode_mulaw(pcm: bytes) -> bytes:
    """16-bit PCM as G.711 µ-law, one byte a sample."""
    if not _table:  # made at first use, so that importing stays cheap
        _table.append(np.frombuffer(_mulaw_table(), dtype=np.uint8))
    coded: bytes = _table[0][np.frombuffer(pcm, dtype="<u2")].tobytes()
    return coded


def is_louder(pcm: bytes, magnitude: int) -> bool:
    """Whether any sample is beyond a magnitude, which may be up to 32767."""
    if not pcm:
        return False
    samples = np.frombuffer(pcm, dtype="<i2")
    return bool(samples.max() > magnitude or samples.min() < -magnitude)
