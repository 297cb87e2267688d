"""The caller asks for another language in the middle of a call: hearing and voice follow at once.

    uv run examples/languages.py [first.wav second.wav] [--output call.wav]

Speech-to-text takes the new language over at the next pause, on a second connection, without a word
lost. The voice changes with the next utterance. (The sandbox's Whisper hears English in whatever
language it is told to; look at what your own deployment was trained on.)
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Literal

from livekit.agents import (
    Agent,
    AgentSession,
    ConversationItemAddedEvent,
    ErrorEvent,
    RunContext,
    function_tool,
    llm,
)
from livekit.plugins import baseten
from recording import Microphone, Speaker, read_recording
from startup import EXAMPLE, models, run

_CODES = {"Spanish": "es", "French": "fr", "German": "de", "English": "en"}
# Orpheus speaks a language through the voices that were trained on it; name your deployment's.
_VOICES = {"Spanish": "javi", "French": "pierre", "German": "jana", "English": "tara"}


class Interpreter(Agent):
    def __init__(self, hearing: baseten.STT, voice: baseten.TTS) -> None:
        super().__init__(instructions="Answer in the language that the caller has chosen.")
        self._hearing = hearing
        self._voice = voice

    @function_tool
    async def switch_language(
        self, context: RunContext, language: Literal["Spanish", "French", "German", "English"]
    ) -> str:
        """Switch the language of the call.

        Args:
            language: What the caller wants to speak from now on.
        """
        self._hearing.update_options(language=_CODES[language])
        self._voice.update_options(voice=_VOICES[language])
        print(f"(from here on in {language})")
        return f"The call goes on in {language}."


async def main(first: Path, second: Path, output: Path) -> None:
    speaker = Speaker(output)
    before, after = Microphone(read_recording(first)), Microphone(read_recording(second))
    async with models():
        hearing, voice = baseten.STT(language="en"), baseten.TTS()
        session: AgentSession[None] = AgentSession(
            stt=hearing,
            llm=baseten.LLM(),
            tts=voice,
            vad=None,
            turn_handling={"turn_detection": "stt"},
        )
        session.output.audio = speaker
        session.on("conversation_item_added", show)
        async with hearing, voice, session:
            await session.start(Interpreter(hearing, voice))
            await answer(session, before)
            await session.run(user_input="Please switch the language to Spanish.")
            await answer(session, after)
    speaker.save()


async def answer(session: AgentSession[None], caller: Microphone) -> None:
    """Let the caller speak, and wait until the agent has answered."""
    answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_item(event: ConversationItemAddedEvent) -> None:
        if getattr(event.item, "role", None) == "assistant" and not answered.done():
            answered.set_result(None)

    def on_error(event: ErrorEvent) -> None:
        # What is recoverable, LiveKit tries again by itself.
        if not event.error.recoverable and not answered.done():
            answered.set_exception(event.error.error)

    session.on("conversation_item_added", on_item)
    session.on("error", on_error)
    session.input.audio = caller
    try:
        await asyncio.wait_for(answered, caller.duration + 60)
    except asyncio.TimeoutError:
        raise ValueError("the agent didn't answer within a minute") from None
    finally:
        session.off("conversation_item_added", on_item)
        session.off("error", on_error)


def show(event: ConversationItemAddedEvent) -> None:
    if isinstance(event.item, llm.ChatMessage):
        print(
            f"{'Caller:' if event.item.role == 'user' else 'Agent:':<7} {event.item.text_content}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Switch the language in the middle of a call.")
    parser.add_argument("first", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("second", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--output", type=Path, default=Path("call.wav"))
    options = parser.parse_args()
    run(main(options.first, options.second, options.output))
