"""Reads WAV as it streams in: any header length, sample format and channel count."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

__all__ = ["WavError", "WavReader"]

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_LONGEST = 3600  # seconds; who streams doesn't know the length, and writes 0 or one beyond any
_MAX_HEADER = 1 << 20


class WavError(ValueError):
    """The bytes aren't a WAV file that can be played."""


class WavReader:
    """Turns the bytes of a WAV file, or of several in a row, into 16-bit mono samples.

    Attributes:
        sample_rate: In Hz; 0 until the header has been read.
    """

    def __init__(self) -> None:
        """Start before the header."""
        self.sample_rate = 0
        self._buffer = bytearray()
        self._left: int | None = None  # bytes of samples to come; None before they begin
        self._endless = False
        self._over = False
        self._format = (0, 0, 0)  # tag, channels, bits

    def feed(self, data: bytes) -> bytes:
        """The samples that have become readable: 16 bits little endian, mono.

        Raises:
            WavError: the header is wrong, or the sample format isn't known.
        """
        self._buffer += data
        samples = b""
        while True:
            while self._left is None:
                if not self._read_chunk():
                    return samples
            samples += self._read_samples()
            if self._left or not self._another_file():
                return samples

    def end(self) -> None:
        """Check that the file is whole.

        Raises:
            WavError: it broke off.
        """
        if self._left is None or (self._left and not self._endless):
            raise WavError("the WAV file breaks off")

    def _read_samples(self) -> bytes:
        assert self._left is not None
        _, channels, bits = self._format
        size = channels * bits // 8
        length = min(len(self._buffer), self._left)
        length -= length % size
        if not self._endless:
            self._left -= length
        samples = bytes(self._buffer[:length])
        del self._buffer[:length]
        return _to_mono16(samples, self._format)

    def _another_file(self) -> bool:
        """Whether one follows, as when each sentence is one; anything else is tags."""
        start = bytes(self._buffer[:4])
        if start == b"RIFF" and not self._over:
            self._left = None
            self._format = (0, 0, 0)
            return True
        if self._over or not b"RIFF".startswith(start):
            self._over = True
            self._buffer.clear()
        return False

    def _read_chunk(self) -> bool:
        buffer = self._buffer
        if not self._format[0]:
            if len(buffer) < 12:
                return False
            if buffer[:4] != b"RIFF" or buffer[8:12] != b"WAVE":
                raise WavError("not a WAV file")
            self._format = (-1, 0, 0)
            del buffer[:12]
        if len(buffer) < 8:
            return False
        name, length = bytes(buffer[:4]), struct.unpack_from("<I", buffer, 4)[0]
        if name == b"data":
            _, channels, bits = self._format
            if not channels:
                raise WavError("the WAV header lacks its format")
            longest = _LONGEST * self.sample_rate * channels * bits // 8
            self._endless = not 0 < length <= longest
            self._left = 1 << 62 if self._endless else length
            del buffer[:8]
            return True
        if length > _MAX_HEADER:
            raise WavError("the WAV header is too long")
        padded = length + length % 2
        if len(buffer) < 8 + padded:
            return False
        if name == b"fmt ":
            self._read_format(bytes(buffer[8 : 8 + length]))
        del buffer[: 8 + padded]
        return True

    def _read_format(self, chunk: bytes) -> None:
        if len(chunk) < 16:
            raise WavError("the WAV format is too short")
        tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
        if tag == _EXTENSIBLE and len(chunk) >= 26:
            tag = struct.unpack_from("<H", chunk, 24)[0]
        known = (tag == _PCM and bits in (8, 16, 24, 32)) or (tag == _FLOAT and bits in (32, 64))
        if not known:
            raise WavError(f"WAV samples of format {tag} with {bits} bits aren't known")
        if not 1 <= channels <= 32 or not 4000 <= rate <= 384000:
            raise WavError(f"a WAV file of {channels} channels at {rate} Hz can't be played")
        if self.sample_rate not in (0, rate):
            raise WavError(f"the WAV file goes on at {rate} Hz after {self.sample_rate} Hz")
        self.sample_rate = rate
        self._format = (tag, channels, bits)


def _to_mono16(data: bytes, format: tuple[int, int, int]) -> bytes:
    tag, channels, bits = format
    if not data or (tag, channels, bits) == (_PCM, 1, 16):
        return data
    values: npt.NDArray[np.float64]
    if tag == _FLOAT:
        values = np.frombuffer(data, f"<f{bits // 8}").astype(np.float64) * 32767
    elif bits == 8:
        values = (np.frombuffer(data, np.uint8).astype(np.float64) - 128) * 256
    elif bits == 24:
        raw = np.frombuffer(data, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(raw), 4), np.uint8)
        wide[:, 1:] = raw
        values = wide.view("<i4")[:, 0] / 65536.0
    else:
        values = np.frombuffer(data, f"<i{bits // 8}") / float(1 << (bits - 16))
    mono = np.nan_to_num(values).reshape(-1, channels).mean(axis=1)
    return bytes(np.clip(np.rint(mono), -32768, 32767).astype("<i2"))
