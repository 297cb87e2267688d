"""Uses ``livekit.plugins.baseten`` as a program would; which one is installed is none of its business.

It takes jobs as lines of JSON, with the plugin's constructor arguments in ``options``, and prints a
line of JSON about each; audio goes into the file that the job names.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import llm, stt, utils
from livekit.plugins import baseten

RATE = 16000
FRAME = RATE // 50 * 2  # bytes of 20 ms


def frames(path: str) -> list[rtc.AudioFrame]:
    pcm = Path(path).read_bytes()
    pieces = [pcm[at : at + FRAME] for at in range(0, len(pcm), FRAME)]
    return [rtc.AudioFrame(piece, RATE, 1, len(piece) // 2) for piece in pieces]


def shown(event: stt.SpeechEvent) -> dict[str, Any]:
    result: dict[str, Any] = {"type": event.type.value}
    if event.alternatives:
        data = event.alternatives[0]
        words = [[str(word), word.start_time, word.end_time] for word in data.words or []]
        result |= {"text": data.text, "language": data.language, "words": words}
    return result


async def transcribe(
    options: dict[str, Any], audio: str, finals: int | None = None
) -> dict[str, Any]:
    """Stream a file; until so many finals have come, or else until the stream ends by itself."""
    recognizer = baseten.STT(**options)
    events: list[dict[str, Any]] = []
    async with recognizer.stream() as stream:
        for frame in frames(audio):
            stream.push_frame(frame)
        if finals is None:
            stream.end_input()
        async for event in stream:
            events.append(shown(event))
            if [e["type"] for e in events].count("final_transcript") == finals:
                break
    return {"events": events}


async def recognize(options: dict[str, Any], audio: str) -> dict[str, Any]:
    return {"events": [shown(await baseten.STT(**options).recognize(frames(audio)))]}


async def save(path: str, spoken: AsyncIterable[Any]) -> dict[str, Any]:
    pcm, rates, timed = b"", set(), []
    async for event in spoken:
        pcm += bytes(event.frame.data)
        rates.add(event.frame.sample_rate)
        words = event.frame.userdata.get("lk.timed_transcripts", ())
        timed += [[str(word), word.start_time, word.end_time] for word in words]
    await asyncio.to_thread(Path(path).write_bytes, pcm)
    return {"rates": sorted(rates), "words": timed}


async def synthesize(options: dict[str, Any], text: str, audio: str) -> dict[str, Any]:
    speaker = baseten.TTS(**options)
    result = await save(audio, speaker.synthesize(text))
    await speaker.aclose()
    return result


async def stream(options: dict[str, Any], pieces: list[str], audio: str) -> dict[str, Any]:
    speaker = baseten.TTS(**options)
    async with speaker.stream() as spoken:
        for piece in pieces:
            spoken.push_text(piece)
        spoken.end_input()
        result = await save(audio, spoken)
    await speaker.aclose()
    return result


async def chat(options: dict[str, Any], text: str) -> dict[str, Any]:
    model = baseten.LLM(**options)
    asked = llm.ChatContext()
    asked.add_message(role="user", content=text)
    answer = await model.chat(chat_ctx=asked).collect()
    await model.aclose()
    return {"text": answer.text}


async def voices(options: dict[str, Any], name: str, audio: str) -> dict[str, Any]:
    """Register a voice from a file, and list what there is."""
    added = await baseten.register_voice(
        **options, name=name, ref_audio_path=audio, ref_text="a voice"
    )
    return {"added": added, "listed": await baseten.list_voices(**options)}


JOBS = {f.__name__: f for f in (transcribe, recognize, synthesize, stream, chat, voices)}


async def do(job: dict[str, Any]) -> dict[str, Any]:
    try:
        async with utils.http_context.open():
            return await JOBS[job.pop("do")](**job)
    except Exception:
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(asyncio.run(do(json.loads(line)))), flush=True)
