"""Audio of files and pipes: any format in, WAV out."""

from __future__ import annotations

import array
import asyncio
import os
import struct
import sys
import tempfile
from collections.abc import AsyncIterator
from types import TracebackType
from typing import BinaryIO

from livekit import rtc
from livekit.agents.utils import aio, codecs

from .pipes import content

__all__ = ["WavWriter", "last_sound", "read_audio", "read_recording"]

_QUIET = 300  # of 32768, about -41 dB
_UNKNOWN = 0xFFFFFFFF


async def read_audio(
    source: AsyncIterator[bytes], *, sample_rate: int | None = None
) -> AsyncIterator[rtc.AudioFrame]:
    """The audio of a file in any format that FFmpeg reads, mixed down to one channel.

    Args:
        source: The file's content.
        sample_rate: Hz to resample to; the file's own when None.

    Raises:
        OSError: the file can't be read.
        ValueError: there is no audio in it.
    """
    # Without a format the decoder looks at the content; its WAV shortcut takes 16 bits only.
    decoder = codecs.AudioStreamDecoder(sample_rate=sample_rate, num_channels=1)

    async def push() -> None:
        try:
            async for piece in source:
                decoder.push(piece)
        finally:
            decoder.end_input()

    pushing = asyncio.create_task(push(), name="baseten.audio.push")
    found = False
    try:
        async for frame in decoder:
            found = True
            yield frame
        await pushing
    finally:
        await aio.cancel_and_wait(pushing)
        await decoder.aclose()
    if not found:
        raise ValueError("it isn't audio in a format that can be read, or is empty")


async def read_recording(path: str) -> tuple[bytes, int]:
    """All of a recording.

    Args:
        path: The file; ``-`` for standard input.

    Returns:
        16-bit mono audio, and its sample rate in Hz.

    Raises:
        OSError: the file can't be read.
        ValueError: there is no audio in it.
    """
    pcm, rate = bytearray(), 0
    async for frame in read_audio(content(path)):
        pcm += frame.data
        rate = frame.sample_rate
    return bytes(pcm), rate


def last_sound(pcm: bytes) -> int:
    """The position of the sample after the last one that isn't silence."""
    samples = array.array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    for at in range(len(samples) - 1, -1, -1):
        if abs(samples[at]) > _QUIET:
            return at + 1
    return 0


class WavWriter:
    """Writes 16-bit mono WAV; a file appears under its name only when it is whole.

    A pipe gets its header before the length is known, as players expect of a stream.
    """

    def __init__(self, path: str, *, sample_rate: int) -> None:
        """Open the file.

        Args:
            path: Its name; ``-`` for standard output.
            sample_rate: Hz.

        Raises:
            OSError: it can't be written.
        """
        self._path = path
        self._rate = sample_rate
        self._part: str | None = None
        self.written = 0
        if path == "-":
            self._file: BinaryIO = sys.stdout.buffer
        elif os.path.exists(path) and not os.path.isfile(path):
            self._file = open(path, "wb")  # noqa: SIM115
        else:
            number, self._part = tempfile.mkstemp(
                dir=os.path.dirname(path) or ".",
                prefix=f".{os.path.basename(path)}.",
                suffix=".part",
            )
            self._file = os.fdopen(number, "wb")

    def write(self, pcm: bytes | memoryview) -> None:
        """Add audio."""
        if not self.written:
            # Not before there is any: a failure leaves nothing in a pipe.
            self._file.write(self._header(None))
        self._file.write(pcm)
        self.written += len(pcm)
        if self._part is None:
            self._file.flush()

    @property
    def seconds(self) -> float:
        """How much audio was written."""
        return self.written / 2 / self._rate

    def __enter__(self) -> WavWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._part is None:
            if self._path != "-":
                self._file.close()
            return
        try:
            if error is None:
                self._file.seek(0)
                self._file.write(self._header(self.written))
            self._file.close()
            if error is None:
                mask = os.umask(0)
                os.umask(mask)
                os.chmod(self._part, 0o666 & ~mask)  # mkstemp's own is for the owner alone
                os.replace(self._part, self._path)
                self._part = None
        finally:
            if self._part is not None:
                os.unlink(self._part)

    def _header(self, size: int | None) -> bytes:
        return struct.pack(
            "<4sI4s4sIHHIIHH4sI",
            b"RIFF",
            _UNKNOWN if size is None else 36 + size,
            b"WAVE",
            b"fmt ",
            16,
            1,
            1,
            self._rate,
            2 * self._rate,
            2,
            16,
            b"data",
            _UNKNOWN if size is None else size,
        )
