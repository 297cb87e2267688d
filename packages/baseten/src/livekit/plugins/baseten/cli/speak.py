"""``speak``: a text to a WAV file or a pipe."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from livekit.agents import APIConnectOptions, utils
from livekit.agents.tts import SynthesizeStream
from livekit.agents.utils import aio

from .audio import WavWriter
from .components import Components
from .pipes import text

__all__ = ["speak"]


async def speak(given: argparse.Namespace) -> int:
    """Speak a text as it comes.

    Raises:
        ValueError: an option can't be used, or there is no text.
        OSError: the file can't be written.
        APIError: speaking failed; the file then isn't there.
    """
    output = given.output or "-"
    if output == "-" and sys.stdout.isatty():
        raise ValueError("name a file with -o, or send the sound on: speak … | aplay")
    async with utils.http_context.open():
        tts = Components(given).tts()
        try:
            with WavWriter(output, sample_rate=tts.sample_rate) as wav:
                options = APIConnectOptions(timeout=given.timeout)
                async with tts.stream(conn_options=options) as stream:
                    first = await _pump(stream, wav, given.text)
        finally:
            await tts.aclose()
    if not given.quiet:
        sys.stderr.write(f"{wav.seconds:.1f} s of speech, the first of it after {first:.2f} s\n")
    return 0


async def _pump(stream: SynthesizeStream, wav: WavWriter, words: list[str]) -> float:
    """Push the text and write what is spoken; returns the seconds to the first audio."""
    began = first = 0.0

    async def push() -> None:
        nonlocal began
        said = False
        async for piece in text(words):
            began = began or time.perf_counter()
            said = said or bool(piece.strip())
            stream.push_text(piece)
        if not said:
            raise ValueError("the text is empty")
        stream.end_input()

    async def write() -> None:
        nonlocal first
        async for event in stream:
            first = first or time.perf_counter()
            wav.write(bytes(event.frame.data))

    tasks = [asyncio.create_task(push()), asyncio.create_task(write())]
    try:
        # The first to fail ends both.
        await asyncio.gather(*tasks)
    finally:
        await aio.cancel_and_wait(*tasks)
    return first - began
