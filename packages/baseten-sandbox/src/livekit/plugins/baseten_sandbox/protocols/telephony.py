"""Telephone audio: G.711 µ-law, and 8 kHz brought to 16 kHz."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["decode_mulaw", "double"]


def decode_mulaw(data: bytes) -> NDArray[np.int16]:
    """Decode G.711 µ-law, one byte a sample."""
    import numpy as np

    code = (~np.frombuffer(data, dtype=np.uint8)).astype(np.int32)
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def double(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """Double the sample rate by linear interpolation."""
    import numpy as np

    if not len(samples):
        return samples
    following = np.append(samples[1:], samples[-1]).astype(np.int32)
    doubled = np.empty(2 * len(samples), dtype=np.int16)
    doubled[::2] = samples
    doubled[1::2] = (samples.astype(np.int32) + following) // 2
    return doubled
