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
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from livekit.agents import Agent, AgentSession, ErrorEvent, llm, utils
from livekit.plugins import baseten, silero
from recording import Microphone, Speaker, read_recording
from waterfall import Timeline, waterfall

QUESTION = Path(__file__).parent.parent / "tests" / "speech" / "librivox-0930.wav"
INSTRUCTIONS = (
    "You are a friendly voice assistant. Answer in one or two short sentences of plain words, "
    "without lists, markup or emojis."
)


SILENCE = 3.0  # seconds without a word, after which a recording is taken for silent


class Failure(Exception):
    """The conversation can't go on; the text says why."""


async def main(question: Path, output: Path, *, patience: float) -> None:
    pcm = read_recording(question)
    async with sandbox_without_key(), utils.http_context.open():
        session: AgentSession[None] = AgentSession(
            stt=baseten.STT(),
            llm=baseten.LLM(),
            tts=baseten.TTS(),
            vad=silero.VAD.load(),
            turn_handling={"turn_detection": "vad"},
        )
        session.input.audio = microphone = Microphone(pcm)
        session.output.audio = speaker = Speaker()
        timeline = Timeline(session)

        print(f"Asking {question} ({microphone.duration:.1f} s) ...\n", flush=True)
        await session.start(Agent(instructions=INSTRUCTIONS))
        try:
            limit = microphone.duration + patience
            await asyncio.wait_for(answered(session, microphone, timeline), limit)
        except asyncio.TimeoutError:
            raise Failure(f"no answer within {patience:g} s of the question") from None
        finally:
            await asyncio.wait_for(session.aclose(), 10)

    for message in spoken(session):
        print(f"{'You:' if message.role == 'user' else 'Agent:':<6} {message.text_content}")
    print("\nAfter the question's last word:")
    print(waterfall(timeline.stages(*spoken(session)[-2:])))
    speaker.save(output)
    print(f"\nThe answer is in {output} ({speaker.duration:.1f} s).")


@contextlib.asynccontextmanager
async def sandbox_without_key() -> AsyncIterator[None]:
    """Without an API key, run a sandbox and point the environment at it."""
    if os.getenv("BASETEN_API_KEY", "").strip():
        yield
        return
    print("There is no BASETEN_API_KEY: a sandbox on this machine stands in for Baseten.")
    from livekit.plugins.baseten_sandbox import Sandbox

    async with Sandbox() as sandbox:
        print("Loading its models ... ", end="", flush=True)
        started = time.monotonic()
        await sandbox.load()
        print(f"{time.monotonic() - started:.1f} s")
        os.environ.update(sandbox.environ())
        yield


def spoken(session: AgentSession) -> list[llm.ChatMessage]:
    return [m for m in session.history.messages() if m.role in ("user", "assistant")]


async def answered(session: AgentSession, microphone: Microphone, timeline: Timeline) -> None:
    """Wait until the whole recording has been answered.

    Raises:
        Failure: It can't be.
    """
    failures: list[str] = []

    def on_error(event: ErrorEvent) -> None:
        # What is recoverable, LiveKit tries again by itself.
        if not event.error.recoverable:
            failures.append(getattr(event.error.error, "message", str(event.error.error)))

    session.on("error", on_error)
    while not failures:
        await asyncio.sleep(0.05)
        if microphone.silence < 0 or session.user_state == "speaking":
            continue
        if not timeline.spoke_until and microphone.silence > SILENCE:
            raise Failure("there is no speech in it")
        dialogue = spoken(session)
        if (
            session.agent_state == "listening"
            and len(dialogue) > 1
            and dialogue[-1].role == "assistant"
            # A pause may have split the question: its last part has to be answered too.
            and dialogue[-2].metrics["stopped_speaking_at"] >= timeline.spoke_until
        ):
            return
    raise Failure(failures[0])


def command() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Ask a voice agent on Baseten a recorded question."
    )
    parser.add_argument("question", nargs="?", type=Path, default=QUESTION, help="a recording")
    parser.add_argument("--output", type=Path, default=Path("answer.wav"), help="the answer's file")
    parser.add_argument(
        "--patience", type=float, default=60.0, help="seconds to wait for the answer (default: 60)"
    )
    parser.add_argument("--verbose", action="store_true", help="show LiveKit's own log")
    return parser.parse_args()


if __name__ == "__main__":
    options = command()
    if options.verbose:
        logging.basicConfig(level=logging.INFO)
    else:
        # Errors reach the user as one line each.
        logging.disable(logging.CRITICAL)
    try:
        asyncio.run(main(options.question, options.output, patience=options.patience))
    except (Failure, ValueError, OSError) as error:
        sys.exit(f"voice_turn: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        print("voice_turn: stopped", file=sys.stderr)
        sys.exit(130)
