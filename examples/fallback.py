"""When a deployment fails, another one answers, or another provider.

    uv run examples/fallback.py [question.wav]

LiveKit's adapters try their members in order, and go back to the first as soon as it is well again. The
second ones come from SPARE_STT_ENDPOINT and SPARE_TTS_ENDPOINT here; any other LiveKit plugin stands in
the list just as well. In the sandbox the first deployments are broken on purpose.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

from livekit import rtc
from livekit.agents import llm, stt, tts
from livekit.plugins import baseten
from livekit.plugins.baseten_sandbox import Sandbox
from recording import SAMPLE_RATE, read_recording
from startup import EXAMPLE, models, run, save


def ears() -> stt.FallbackAdapter:
    # A deployment that is starting would be waited for; here somebody else can answer.
    return stt.FallbackAdapter(
        [
            baseten.STT(cold_start_timeout=0),
            baseten.STT(model_endpoint=os.environ["SPARE_STT_ENDPOINT"], cold_start_timeout=0),
        ],
        max_retry_per_stt=0,
    )


def mind() -> llm.FallbackAdapter:
    return llm.FallbackAdapter(
        [baseten.LLM(model="openai/gpt-oss-120b"), baseten.LLM(model="zai-org/GLM-4.7")]
    )


def voice() -> tts.FallbackAdapter:
    return tts.FallbackAdapter(
        [baseten.TTS(), baseten.TTS(model_endpoint=os.environ["SPARE_TTS_ENDPOINT"])],
        max_retry_per_tts=0,
    )


async def main(question: Path, output: Path) -> None:
    pcm = read_recording(question)
    async with models() as sandbox:
        if sandbox is not None:
            break_first(sandbox)
        if not {"SPARE_STT_ENDPOINT", "SPARE_TTS_ENDPOINT"} <= os.environ.keys():
            raise ValueError("set SPARE_STT_ENDPOINT and SPARE_TTS_ENDPOINT to second deployments")
        hearing, thinking, speaking = ears(), mind(), voice()
        hearing.on("stt_availability_changed", lambda event: tell("hearing", event.available))
        thinking.on("llm_availability_changed", lambda event: tell("thinking", event.available))
        speaking.on("tts_availability_changed", lambda event: tell("speaking", event.available))
        try:
            heard = await hearing.recognize([rtc.AudioFrame(pcm, SAMPLE_RATE, 1, len(pcm) // 2)])
            said = heard.alternatives[0].text
            print(f"You:   {said}")
            conversation = llm.ChatContext.empty()
            conversation.add_message(role="user", content=said)
            async with thinking.chat(chat_ctx=conversation) as stream:
                answer = "".join([text async for text in stream.to_str_iterable()])
            print(f"Agent: {answer}")
            frames = [audio.frame async for audio in speaking.synthesize(answer)]
            save(output, frames)
        finally:
            for adapter in (hearing, thinking, speaking):
                await adapter.aclose()


def tell(what: str, available: bool) -> None:
    print(
        f"({what}: a deployment {'is well again' if available else 'failed, the next one is asked'})"
    )


def break_first(sandbox: Sandbox) -> None:
    for name in ("whisper1", "orpheus1"):
        sandbox.deploy(dataclasses.replace(sandbox.deployment(name), state="unhealthy"))
    os.environ["SPARE_STT_ENDPOINT"] = sandbox.url("whisper2", "websocket")
    os.environ["SPARE_TTS_ENDPOINT"] = sandbox.tts_websocket_endpoint


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fall back to other deployments.")
    parser.add_argument("question", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--output", type=Path, default=Path("answer.wav"))
    options = parser.parse_args()
    run(main(options.question, options.output))
