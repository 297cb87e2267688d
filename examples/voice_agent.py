"""A voice agent on Baseten, as you deploy it with LiveKit Agents.

    uv run examples/voice_agent.py start    # with LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET

or, as LiveKit's own tools do it, `python -m livekit.agents start examples/voice_agent.py`. The models
come from the environment: BASETEN_API_KEY, and BASETEN_STT_MODEL_ID and BASETEN_TTS_MODEL_ID (or
…_CHAIN_ID, or a URL in …_MODEL_ENDPOINT). Without a key, run `baseten-sandbox` and export what it
prints.
"""

from __future__ import annotations

import logging
import os
import random
from datetime import datetime, timezone
from urllib.parse import urlsplit

from livekit import rtc
from livekit.agents import (
    Agent,
    AgentServer,
    AgentSession,
    JobContext,
    JobProcess,
    ToolError,
    cli,
    function_tool,
    inference,
    room_io,
)
from livekit.plugins import baseten, silero

logger = logging.getLogger("voice-agent")

server = AgentServer()


class Assistant(Agent):
    def __init__(self) -> None:
        super().__init__(
            instructions="You are a friendly voice assistant. Answer in one or two short sentences "
            "of plain words, without lists, markup or emojis."
        )

    async def on_enter(self) -> None:
        self.session.generate_reply(instructions="Greet the user and offer your help.")

    @function_tool
    async def time_of_day(self) -> str:
        """Look at the clock: what time is it now, in UTC?"""
        return f"{datetime.now(timezone.utc):%H:%M}"

    @function_tool
    async def roll_dice(self, sides: int) -> int:
        """Roll a die.

        Args:
            sides: How many sides it has; six unless the user says so.
        """
        if not 2 <= sides <= 100:
            raise ToolError("A die has between 2 and 100 sides.")
        return random.randint(1, sides)


def prewarm(process: JobProcess) -> None:
    # onnxruntime, which runs Silero, would tell its makers of its use.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # Here rather than in the job, whose audio would wait for them.
    process.userdata["vad"] = silero.VAD.load()
    process.userdata["noise_cancellation"] = noise_cancellation()


server.setup_fnc = prewarm


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        stt=baseten.STT(),
        llm=baseten.LLM(),
        tts=baseten.TTS(),
        vad=ctx.proc.userdata["vad"],
        turn_handling={"turn_detection": turn_detector()},
    )
    await session.start(
        agent=Assistant(),
        room=ctx.room,
        room_options=room_io.RoomOptions(
            audio_input=room_io.AudioInputOptions(
                noise_cancellation=ctx.proc.userdata["noise_cancellation"]
            ),
        ),
    )


def turn_detector() -> inference.TurnDetector:
    """LiveKit's multilingual end-of-turn model: in LiveKit Cloud, or its small edition right here."""
    detector = inference.TurnDetector()
    logger.info("the end of a turn is found by %s", detector.model)
    return detector


def noise_cancellation() -> rtc.NoiseCancellationOptions | None:
    """LiveKit Cloud's background voice cancellation, where there is one."""
    host = urlsplit(os.getenv("LIVEKIT_URL", "")).hostname or ""
    if not host.endswith(".livekit.cloud"):
        logger.info("noise cancellation is off: it needs a room in LiveKit Cloud")
        return None
    try:
        from livekit.plugins import noise_cancellation
    except ImportError:
        logger.info("noise cancellation is off: pip install livekit-plugins-noise-cancellation")
        return None
    return noise_cancellation.BVC()


if __name__ == "__main__":
    cli.run_app(server)
