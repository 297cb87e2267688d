"""Runs in an environment with the published plugin; told by JSON on stdin, answers JSON lines."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import aiohttp

from livekit import rtc
from livekit.plugins import baseten

WHISPER_FRAME = 1024


async def transcribe(stt: Any, pcm: bytes) -> str:
    stream = stt.stream()
    for at in range(0, len(pcm) - len(pcm) % WHISPER_FRAME, WHISPER_FRAME):
        stream.push_frame(rtc.AudioFrame(pcm[at : at + WHISPER_FRAME], 16000, 1, 512))
    try:
        async for event in stream:
            if event.type.value == "final_transcript" and event.alternatives[0].text:
                return str(event.alternatives[0].text)
    finally:
        await stream.aclose()
    return ""


async def speak(tts: Any, text: str, *, streamed: bool) -> bytes:
    audio = b""
    if streamed:
        stream = tts.stream()
        for word in text.split():
            stream.push_text(word + " ")
        stream.end_input()
    else:
        stream = tts.synthesize(text)
    async with stream:
        async for event in stream:
            audio += bytes(event.frame.data)
    return audio


def answer(name: str, **result: Any) -> None:
    print(json.dumps({"name": name, **result}), flush=True)


async def main() -> None:
    task = json.load(sys.stdin)
    pcm, text = base64.b64decode(task["pcm"]), task["text"]
    async with aiohttp.ClientSession() as session:
        common = {"api_key": task["api_key"], "http_session": session}
        for name, options in task["stt"].items():
            heard = await asyncio.wait_for(transcribe(baseten.STT(**options, **common), pcm), 20)
            answer(name, text=heard)
        for name, options in task["tts"].items():
            tts = baseten.TTS(**options, **common)
            streamed = options["model_endpoint"].startswith("ws")
            audio = await asyncio.wait_for(speak(tts, text, streamed=streamed), 20)
            answer(name, audio=base64.b64encode(audio).decode())
            await tts.aclose()


asyncio.run(main())
