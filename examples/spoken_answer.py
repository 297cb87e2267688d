"""Speak an LLM's answer while it is still being written.

uv run examples/spoken_answer.py "Tell me about the sea." [--output answer.wav]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from livekit import rtc
from livekit.agents import llm
from livekit.plugins import baseten
from startup import models, run, save


async def main(question: str, output: Path) -> None:
    conversation = llm.ChatContext.empty()
    conversation.add_message(role="system", content="Answer in two or three short sentences.")
    conversation.add_message(role="user", content=question)
    frames: list[rtc.AudioFrame] = []
    async with models(), baseten.LLM() as model, baseten.TTS() as text_to_speech:
        text_to_speech.prewarm()
        asked = time.monotonic()
        async with text_to_speech.stream() as speech:

            async def write() -> None:
                first = True
                try:
                    async with model.chat(chat_ctx=conversation) as answer:
                        async for text in answer.to_str_iterable():
                            if first:
                                print(f"first token after {time.monotonic() - asked:.3f} s")
                            first = False
                            speech.push_text(text)
                finally:
                    speech.end_input()

            writing = asyncio.create_task(write())
            async for audio in speech:
                if not frames:
                    print(f"first sound after {time.monotonic() - asked:.3f} s")
                frames.append(audio.frame)
            await writing
    save(output, frames)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Speak an answer as it is written.")
    parser.add_argument("question", nargs="?", default="Tell me about the sea.")
    parser.add_argument("--output", type=Path, default=Path("answer.wav"))
    options = parser.parse_args()
    run(main(options.question, options.output))
