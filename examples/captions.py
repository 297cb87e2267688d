"""Captions of what a microphone hears, as it is spoken.

    arecord -q -t raw -f S16_LE -r 16000 -c 1 | uv run examples/captions.py -
    uv run examples/captions.py [recording.wav]      # at the pace of live speech

"-" reads mono PCM of 16 bits at 16 kHz from a pipe, from whatever program records it. On a terminal the
line that is being spoken is shown too, and corrected in place.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from livekit import rtc
from livekit.agents import stt
from livekit.plugins import baseten
from recording import Microphone, read_recording
from startup import EXAMPLE, models, run

_RATE = 16000
_PIECE = _RATE // 50 * 2  # bytes of 20 ms


async def main(source: str) -> None:
    frames = piped() if source == "-" else played(Path(source))
    async with models(), baseten.STT() as speech_to_text, speech_to_text.stream() as stream:

        async def listen() -> None:
            try:
                async for frame in frames:
                    stream.push_frame(frame)
            finally:
                stream.end_input()

        listening = asyncio.create_task(listen())
        async for event in stream:
            if event.type == stt.SpeechEventType.INTERIM_TRANSCRIPT:
                show(event.alternatives[0].text, final=False)
            elif event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                show(event.alternatives[0].text, final=True)
        await listening


def show(text: str, *, final: bool) -> None:
    if final:
        print(f"\r\033[K{text}" if sys.stdout.isatty() else text, flush=True)
    elif sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 2
        print(f"\r\033[K\033[2m{text[-width:]}\033[0m", end="", flush=True)


async def piped() -> AsyncIterator[rtc.AudioFrame]:
    """What another program records."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while samples := await whole_samples(reader):
            yield rtc.AudioFrame(samples, _RATE, 1, len(samples) // 2)
    finally:
        transport.close()


async def whole_samples(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readexactly(_PIECE)
    except asyncio.IncompleteReadError as end:
        # A recorder that is stopped may leave half a sample behind.
        return end.partial[: len(end.partial) // 2 * 2]


async def played(recording: Path) -> AsyncIterator[rtc.AudioFrame]:
    """A recording, at the pace of live speech."""
    microphone = Microphone(read_recording(recording))
    while microphone.silence < 0:
        yield await microphone.__anext__()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Captions of live speech.")
    parser.add_argument("source", nargs="?", default=str(EXAMPLE), help='a recording, or "-"')
    run(main(parser.parse_args().source))
