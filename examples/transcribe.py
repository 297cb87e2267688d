"""Transcribe a recording of any length, faster than it was spoken.

    uv run examples/transcribe.py [recording.wav]

It is sent over a streaming deployment, and each piece is printed with its time as soon as it is final.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import av

from livekit.agents import stt, utils
from livekit.plugins import baseten
from startup import EXAMPLE, models, run


async def main(recording: Path) -> None:
    check(recording)
    async with models(), baseten.STT() as speech_to_text, speech_to_text.stream() as stream:

        async def send() -> None:
            try:
                async for frame in utils.audio.audio_frames_from_file(str(recording), 16000):
                    stream.push_frame(frame)
            finally:
                # Whatever happens to the file, the stream below ends.
                stream.end_input()

        sending = asyncio.create_task(send())
        async for event in stream:
            if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                said = event.alternatives[0]
                print(f"[{said.start_time:6.2f} - {said.end_time:6.2f}] {said.text}")
        await sending


def check(recording: Path) -> None:
    # LiveKit's decoder takes a file that it can't open or understand for one without sound.
    with av.open(str(recording)) as container:
        if not container.streams.audio:
            raise ValueError(f"{recording} holds no sound")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Transcribe a recording.")
    parser.add_argument("recording", nargs="?", type=Path, default=EXAMPLE)
    run(main(parser.parse_args().recording))
