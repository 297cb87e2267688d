from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, strategies as st

from livekit.plugins.baseten_tts.wav import WavError, WavReader

SAMPLES = np.array([0, 1, -1, 256, -256, 32767, -32768, 12345], "<i2")


def wav(
    data: bytes, *, tag: int = 1, channels: int = 1, bits: int = 16, rate: int = 24000,
    length: int | None = None, before: bytes = b"", extensible: bool = False,
) -> bytes:  # fmt: skip
    block = channels * bits // 8
    fmt = struct.pack(
        "<HHIIHH", 0xFFFE if extensible else tag, channels, rate, rate * block, block, bits
    )
    if extensible:
        fmt += struct.pack("<HHIH", 22, bits, 0, tag) + bytes(14)
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(fmt)) + fmt
    body += b"data" + struct.pack("<I", len(data) if length is None else length) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read(file: bytes, *, piece: int = 1 << 30) -> tuple[bytes, int]:
    reader = WavReader()
    out = b"".join(reader.feed(file[i : i + piece]) for i in range(0, len(file), piece))
    reader.end()
    return out, reader.sample_rate


@pytest.mark.parametrize("piece", [1, 3, 7, 1 << 30])
def test_pcm16_passes_unchanged_however_it_is_cut(piece: int) -> None:
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    file = wav(SAMPLES.tobytes(), rate=16000, before=odd) + b"LIST\4\0\0\0tags"
    assert read(file, piece=piece) == (SAMPLES.tobytes(), 16000)


@pytest.mark.parametrize("length", [0, 2 * 10**9, 0x7FFFF000, 0x7FFFFFFF - 36, 0xFFFFFFFF])
def test_an_unknown_length_means_to_the_end(length: int) -> None:
    assert read(wav(SAMPLES.tobytes(), length=length))[0] == SAMPLES.tobytes()


@pytest.mark.parametrize("piece", [1, 3, 7, 1 << 30])
def test_all_files_in_a_row_are_read(piece: int) -> None:
    part = wav(SAMPLES.tobytes(), rate=16000)
    assert read(3 * part, piece=piece) == (3 * SAMPLES.tobytes(), 16000)
    with pytest.raises(WavError, match="breaks off"):
        read(part + part[:-2], piece=piece)
    with pytest.raises(WavError, match="8000 Hz after 16000 Hz"):
        read(part + wav(SAMPLES.tobytes(), rate=8000), piece=piece)


def test_other_formats_become_16_bit_mono() -> None:
    as_float = (SAMPLES / 32768.0).astype("<f4").tobytes()
    for extensible in (False, True):
        out = np.frombuffer(read(wav(as_float, tag=3, bits=32, extensible=extensible))[0], "<i2")
        assert np.abs(out.astype(int) - SAMPLES).max() <= 1
    wide = (SAMPLES.astype("<i4") << 16).tobytes()
    assert read(wav(wide, bits=32))[0] == SAMPLES.tobytes()
    packed = b"".join(b"\0" + s.tobytes() for s in SAMPLES)
    assert read(wav(packed, bits=24), piece=5)[0] == SAMPLES.tobytes()
    eight = np.frombuffer(read(wav(bytes([128, 255, 0]), bits=8))[0], "<i2")
    assert eight.tolist() == [0, 127 * 256, -32768]
    stereo = np.array([100, 300, -100, 100], "<i2").tobytes()
    assert np.frombuffer(read(wav(stereo, channels=2))[0], "<i2").tolist() == [200, 0]


@pytest.mark.parametrize(
    "file",
    [
        b"RIFFxxxxWAVX" + bytes(40),
        b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd",
        wav(b"abcd", tag=7, bits=8),
        wav(b"abcd", channels=0),
        wav(b"abcd", rate=1),
        wav(SAMPLES.tobytes())[:-3],
        wav(b"")[:30],
        b"",
    ],
)
def test_what_cannot_be_played_is_refused(file: bytes) -> None:
    with pytest.raises(WavError):
        read(file)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_end_in_audio_or_an_error(data: bytes, piece: int) -> None:
    for file in (data, wav(SAMPLES.tobytes())[:36] + data, b"RIFF\0\0\0\0WAVE" + data):
        try:
            out, _ = read(file, piece=piece)
        except WavError:
            continue
        assert len(out) % 2 == 0
