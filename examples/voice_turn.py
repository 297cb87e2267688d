"""One turn with a voice agent on Baseten: a recorded question goes in, a spoken answer comes out.

    uv run examples/voice_turn.py [question.wav] [--output answer.wav]

Without BASETEN_API_KEY a sandbox on this machine stands in for Baseten, with small real models.
With it, the same program runs on your deployments:

    export BASETEN_API_KEY=…
    export BASETEN_STT_MODEL_ID=…   # or BASETEN_STT_CHAIN_ID, or BASETEN_STT_MODEL_ENDPOINT (a URL)
    export BASETEN_TTS_MODEL_ID=…   # likewise
"""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import os
import signal
import sys
from pathlib import Path

STOPPED = "voice_turn: stopped"

# Set before the libraries load, which takes a moment: Ctrl-C ends it cleanly at any time.
signal.signal(signal.SIGINT, lambda *_: sys.exit(STOPPED))

from dialogue import Dialogue, DialogueError
from livekit.agents import Agent, AgentSession
from livekit.plugins import baseten, silero
from recording import Microphone, Speaker, read_recording
from startup import EXAMPLE, models
from waterfall import waterfall

INSTRUCTIONS = (
    "You are a friendly voice assistant. Answer in one or two short sentences of plain words, "
    "without lists, markup or emojis."
)


def cancel_on_interrupt() -> None:
    """Have Ctrl-C cancel the program, which closes what is open.

    An exception in the middle of whatever is being done might never get out of it.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def cancel(*_: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    signal.signal(signal.SIGINT, cancel)


async def main(question: Path, output: Path, *, patience: float) -> None:
    cancel_on_interrupt()
    microphone = Microphone(read_recording(question))
    speaker = Speaker(output)
    async with models():
        session: AgentSession[None] = AgentSession(
            stt=baseten.STT(),
            llm=baseten.LLM(),
            tts=baseten.TTS(),
            vad=silero.VAD.load(),
            turn_handling={"turn_detection": "vad"},
        )
        session.input.audio = microphone
        session.output.audio = speaker
        dialogue = Dialogue(session)
        await session.start(Agent(instructions=INSTRUCTIONS))
        print(f"Asking {question} ({microphone.duration:.1f} s) ...\n", flush=True)
        try:
            await dialogue.answered(microphone, patience=patience)
        finally:
            await asyncio.wait_for(session.aclose(), 10)

    for message in dialogue.messages:
        print(f"{'You:' if message.role == 'user' else 'Agent:':<6} {message.text_content}")
    print("\nAfter the question's last word:")
    print(waterfall(dialogue.stages()))
    speaker.save()
    print(f"\nThe answer is in {output} ({speaker.duration:.1f} s).")


def command() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Ask a voice agent on Baseten a recorded question."
    )
    parser.add_argument("question", nargs="?", type=Path, default=EXAMPLE, help="a recording")
    parser.add_argument("--output", type=Path, default=Path("answer.wav"), help="the answer's file")
    parser.add_argument(
        "--patience", type=float, default=60.0, help="seconds to wait for the answer (default: 60)"
    )
    parser.add_argument("--verbose", action="store_true", help="show LiveKit's log")
    return parser.parse_args()


if __name__ == "__main__":
    # onnxruntime, which runs Silero, would tell its makers of its use.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    options = command()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the waterfall isn't ASCII
    if options.verbose:
        logging.basicConfig(level=logging.INFO)
    else:
        # What goes wrong reaches the user as one line.
        logging.getLogger().setLevel(logging.CRITICAL + 1)
    try:
        asyncio.run(main(options.question, options.output, patience=options.patience))
    except asyncio.CancelledError:
        sys.exit(STOPPED)
    except (DialogueError, OSError, ValueError) as error:
        sys.exit(f"voice_turn: {' '.join(str(error).split())}")
