"""``transcribe``: a recording to text, subtitles or JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from livekit.agents import APIConnectOptions, utils
from livekit.agents.stt import RecognizeStream, SpeechData, SpeechEventType
from livekit.agents.utils import aio

from .audio import read_audio
from .components import Components
from .pipes import content

__all__ = ["FORMATS", "transcribe"]

_SPEED = 8.0  # times real time, as fast as the plugin sends what has waited
_AHEAD = 1.0  # seconds of audio that may wait to be sent


async def transcribe(given: argparse.Namespace) -> int:
    """Print each stretch of speech as soon as it is final.

    Raises:
        ValueError: an option can't be used, or the file holds no audio.
        OSError: the file can't be read.
        APIError: transcribing failed.
    """
    if given.file == "-" and sys.stdin.isatty():
        raise ValueError("name a file, or send the sound in: transcribe - < file.wav")
    line = FORMATS[given.format]
    async with utils.http_context.open():
        stt = Components(given).stt()
        stream = stt.stream(conn_options=APIConnectOptions(timeout=given.timeout))
        feeding = asyncio.create_task(_feed(stream, given.file), name="baseten.transcribe.feed")
        number = 0
        try:
            async for event in stream:
                if event.type != SpeechEventType.FINAL_TRANSCRIPT:
                    continue
                for data in event.alternatives[:1]:
                    if data.text.strip():
                        number += 1
                        sys.stdout.write(line(number, data))
                        sys.stdout.flush()
            await feeding
        finally:
            await aio.cancel_and_wait(feeding)
            await stream.aclose()
            await stt.aclose()
    if not number and not given.quiet:
        sys.stderr.write("no speech was heard\n")
    return 0


async def _feed(stream: RecognizeStream, path: str) -> None:
    loop = asyncio.get_running_loop()
    began, sent = loop.time(), 0.0
    try:
        async for frame in read_audio(content(path), sample_rate=16000):
            stream.push_frame(frame)
            sent += frame.duration
            await asyncio.sleep(max(0.0, (sent - _AHEAD) / _SPEED - (loop.time() - began)))
    finally:
        # Also when reading fails, so that whoever reads the stream comes to its end.
        stream.end_input()


def _as_text(number: int, data: SpeechData) -> str:
    return data.text.strip() + "\n"


def _as_srt(number: int, data: SpeechData) -> str:
    start, end = map(_clock, _times(data))
    return f"{number}\n{start} --> {end}\n{data.text.strip()}\n\n"


def _as_json(number: int, data: SpeechData) -> str:
    start, end = _times(data)
    line: dict[str, Any] = {
        "text": data.text.strip(),
        "start": round(start, 3),
        "end": round(end, 3),
        "language": str(data.language),
    }
    if data.words:
        line["words"] = [
            {"text": str(word), "start": word.start_time, "end": word.end_time}
            for word in data.words
        ]
    return json.dumps(line, ensure_ascii=False, default=lambda value: None) + "\n"


def _times(data: SpeechData) -> tuple[float, float]:
    """Start and end in seconds: those of the words, since a stretch includes silence around it."""
    start, end = data.start_time, data.end_time
    if data.words:
        first, last = data.words[0].start_time, data.words[-1].end_time
        start = first if isinstance(first, (int, float)) else start
        end = last if isinstance(last, (int, float)) else end
    return start, end


def _clock(seconds: float) -> str:
    whole = round(seconds * 1000)
    return (
        f"{whole // 3600000:02}:{whole // 60000 % 60:02}:{whole // 1000 % 60:02},{whole % 1000:03}"
    )


FORMATS: dict[str, Callable[[int, SpeechData], str]] = {
    "text": _as_text,
    "srt": _as_srt,
    "json": _as_json,
}
"""How a stretch of speech is printed; takes its number, from 1, and what was said."""
