"""One worker of a fleet: LiveKit hands it calls until it is full, and others after that.

    python examples/fleet/worker.py start    # LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET

MAX_CALLS      calls at a time (default 10): what its share of the Baseten deployments can take
HEALTH_PORT    port of the health check (default 8081); workers side by side need one each
DRAIN_SECONDS  how long calls may go on after SIGTERM (default 600)
"""

from __future__ import annotations

import os

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, JobProcess, cli
from livekit.plugins import baseten, silero

MAX_CALLS = int(os.getenv("MAX_CALLS", "10"))


def share_taken(worker: AgentServer) -> float:
    # The models run elsewhere, so this machine's processor hardly tells how much there is to do.
    return len(worker.active_jobs) / MAX_CALLS


def prewarm(process: JobProcess) -> None:
    process.userdata["vad"] = silero.VAD.load()


server = AgentServer(
    load_fnc=share_taken,
    load_threshold=0.99,
    num_idle_processes=1,
    drain_timeout=int(os.getenv("DRAIN_SECONDS", "600")),
    port=int(os.getenv("HEALTH_PORT", "8081")),
    setup_fnc=prewarm,
)


# The name makes dispatch explicit: only calls that ask for this agent come here.
@server.rtc_session(agent_name=os.getenv("AGENT_NAME", "assistant"))
async def call(context: JobContext) -> None:
    session: AgentSession[None] = AgentSession(
        stt=baseten.STT(),
        # `wake` waits for a deployment that is scaled to zero.
        llm=baseten.LLM(wake=120) if os.getenv("BASETEN_LLM_MODEL_ID") else baseten.LLM(),
        tts=baseten.TTS(),
        vad=context.proc.userdata["vad"],
    )
    await session.start(
        agent=Agent(instructions="You are a friendly voice assistant. Be short."), room=context.room
    )
    session.generate_reply(instructions="Greet the caller and offer your help.")


if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    cli.run_app(server)
