"""Speak a text into a WAV file.

uv run examples/speak.py "Good evening, and welcome." [--output speech.wav]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from livekit.plugins import baseten
from startup import models, run, save


async def main(text: str, output: Path) -> None:
    async with models(), baseten.TTS() as text_to_speech:
        frames = [audio.frame async for audio in text_to_speech.synthesize(text)]
    save(output, frames)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Speak a text into a file.")
    parser.add_argument("text", nargs="?", default="Good evening, and welcome.")
    parser.add_argument("--output", type=Path, default=Path("speech.wav"))
    options = parser.parse_args()
    run(main(options.text, options.output))
