"""How the examples start and end: with a sandbox where there is no key, and with one line when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

from livekit import rtc
from livekit.agents import APIError, utils
from livekit.plugins.baseten_sandbox import Sandbox

__all__ = ["EXAMPLE", "models", "run", "save"]

EXAMPLE = Path(__file__).parent.parent / "tests" / "speech" / "librivox-0930.wav"
"""A sentence, read aloud: what the programs hear unless they are given a recording."""


@contextlib.asynccontextmanager
async def _sandbox_without_key() -> AsyncIterator[Sandbox | None]:
    """Without an API key, run a sandbox and point the environment at it."""
    if os.getenv("BASETEN_API_KEY", "").strip():
        yield None
        return
    print("There is no BASETEN_API_KEY: a sandbox on this machine stands in for Baseten.")
    async with Sandbox() as sandbox:
        print("Loading its models ... ", end="", flush=True)
        started = time.monotonic()
        await sandbox.load()
        print(f"{time.monotonic() - started:.1f} s")
        os.environ.update(sandbox.environ())
        yield sandbox


@contextlib.asynccontextmanager
async def models() -> AsyncIterator[Sandbox | None]:
    """Models, and the HTTP session that a LiveKit job would bring along."""
    async with _sandbox_without_key() as sandbox, utils.http_context.open():
        yield sandbox


def save(path: Path, frames: list[rtc.AudioFrame]) -> None:
    """Write speech to a WAV file, once it is there as a whole: no half of one is left behind."""
    if not frames:
        raise ValueError("nothing was spoken")
    speech = rtc.combine_audio_frames(frames)
    path.write_bytes(speech.to_wav_bytes())
    print(f"{path}: {speech.duration:.1f} s of speech")


def run(program: Coroutine[None, None, None]) -> None:
    """Run a program to its end. What goes wrong reaches the user as one line."""
    logging.getLogger().setLevel(logging.CRITICAL + 1)
    # onnxruntime, which the sandbox's models run on, would tell its makers of its use.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    name = Path(sys.argv[0]).stem
    try:
        asyncio.run(program)
    except KeyboardInterrupt:
        sys.exit(f"{name}: stopped")
    except APIError as error:
        sys.exit(f"{name}: {' '.join(error.message.split())}")
    except (OSError, ValueError) as error:
        sys.exit(f"{name}: {' '.join(str(error).split())}")
