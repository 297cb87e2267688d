"""The probes: a sentence through TTS, its sound through STT, a question to the LLM."""

from __future__ import annotations

import asyncio
import difflib
import re
import time
from dataclasses import dataclass, field

from livekit import rtc
from livekit.agents import APIConnectOptions
from livekit.agents.llm import ChatContext
from livekit.agents.stt import SpeechEventType
from livekit.agents.utils import aio
from livekit.plugins.baseten_common import Closed, WebSocket
from livekit.plugins.baseten_llm import LLM
from livekit.plugins.baseten_stt import STT
from livekit.plugins.baseten_stt.protocols import PROTOCOLS, Lost
from livekit.plugins.baseten_tts import TTS

from .audio import last_sound

__all__ = ["Answer", "Heard", "Spoken", "answer", "configure", "hear", "likeness", "say"]

_STEP = 0.05  # seconds of audio in a frame
_PATIENCE = 2.5  # seconds of silence in which a server should have found the end of speech


@dataclass(frozen=True)
class Spoken:
    """Speech, and how long it took.

    Attributes:
        pcm: 16-bit mono audio.
        sample_rate: Hz.
        first: Seconds from the text to the first audio.
        total: Seconds to the last.
    """

    pcm: bytes = field(repr=False)
    sample_rate: int
    first: float
    total: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.pcm) / 2 / self.sample_rate


@dataclass(frozen=True)
class Heard:
    """What was understood.

    Attributes:
        text: The final transcripts, joined.
        delay: Seconds from the end of the speech to the last of them; None when nothing was heard.
    """

    text: str
    delay: float | None


@dataclass(frozen=True)
class Answer:
    """What the language model said.

    Attributes:
        text: The answer.
        first: Seconds to its first words.
        total: Seconds to its end.
    """

    text: str
    first: float
    total: float


async def configure(stt: STT, ws: WebSocket, *, timeout: float) -> bool:
    """Send a session's configuration and wait for a sign that it was accepted.

    Args:
        stt: Whose configuration.
        ws: A connection on which nothing was sent.
        timeout: Seconds to wait for the sign.

    Returns:
        Whether the protocol has such a sign. Where it hasn't, silence has to do.

    Raises:
        APITimeoutError: the sign doesn't come.
        APIError: the configuration was refused.
    """
    options = stt.options
    protocol = PROTOCOLS[options.model](options)
    for message in protocol.opening():
        await ws.send(message)
    while True:
        reply = await ws.receive(timeout=timeout)
        if isinstance(reply, Closed):
            raise ws.error(reply)
        for result in protocol.receive(reply):
            if isinstance(result, Lost):
                raise result.error
            return True


async def say(tts: TTS, text: str, *, options: APIConnectOptions) -> Spoken:
    """Have a text spoken, as an agent does it.

    Raises:
        APIError: it failed.
    """
    start = time.perf_counter()
    first: float | None = None
    pcm = bytearray()
    async with tts.stream(conn_options=options) as stream:
        stream.push_text(text)
        stream.end_input()
        async for event in stream:
            if first is None:
                first = time.perf_counter() - start
            pcm += event.frame.data
    total = time.perf_counter() - start
    return Spoken(bytes(pcm), tts.sample_rate, total if first is None else first, total)


async def hear(stt: STT, pcm: bytes, sample_rate: int, *, options: APIConnectOptions) -> Heard:
    """Have audio transcribed at the pace of speech, followed by silence as in a call.

    Args:
        stt: What transcribes it.
        pcm: 16-bit mono audio.
        sample_rate: Hz.
        options: Retries and timeouts.

    Raises:
        APIError: it failed.
    """
    stream = stt.stream(conn_options=options)
    finals: list[str] = []
    heard_at = 0.0
    # Audio goes out once the connection is open; what waited for that would look like delay.
    spoken = asyncio.get_running_loop().create_future()

    async def feed() -> None:
        samples = int(sample_rate * _STEP)
        began = time.perf_counter()
        spoken.set_result(began + last_sound(pcm) / sample_rate)
        whole = len(pcm) // 2
        silence = int(_PATIENCE * sample_rate) if last_sound(pcm) else 0
        for at in range(0, whole + silence, samples):
            if at >= whole and heard_at > spoken.result():
                break
            part = pcm[2 * at : 2 * (at + samples)].ljust(2 * samples, b"\0")
            stream.push_frame(rtc.AudioFrame(part, sample_rate, 1, samples))
            await asyncio.sleep(began + (at + samples) / sample_rate - time.perf_counter())
        stream.end_input()

    feeding = asyncio.create_task(feed(), name="baseten.doctor.feed")
    try:
        async for event in stream:
            if event.type == SpeechEventType.FINAL_TRANSCRIPT and event.alternatives:
                finals.append(event.alternatives[0].text)
                heard_at = time.perf_counter()
    finally:
        # A stream that failed is closed, which ends the feeding; its own error tells more.
        await aio.cancel_and_wait(feeding)
        await stream.aclose()
    text = " ".join(text.strip() for text in finals if text.strip())
    return Heard(text, max(0.0, heard_at - spoken.result()) if text else None)


async def answer(llm: LLM, text: str, *, options: APIConnectOptions) -> Answer:
    """Ask a question.

    Raises:
        APIError: it failed.
    """
    start = time.perf_counter()
    first: float | None = None
    parts: list[str] = []
    context = ChatContext()
    context.add_message(role="user", content=text)
    async with llm.chat(chat_ctx=context, conn_options=options) as stream:
        async for chunk in stream:
            if chunk.delta and chunk.delta.content:
                if first is None:
                    first = time.perf_counter() - start
                parts.append(chunk.delta.content)
    total = time.perf_counter() - start
    return Answer("".join(parts), total if first is None else first, total)


def likeness(said: str, heard: str) -> float:
    """How much of what was said was heard, word by word: 0 to 1."""
    a, b = (re.findall(r"[\w']+", text.lower()) for text in (said, heard))
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    matched = sum(block.size for block in matcher.get_matching_blocks())
    return matched / max(len(a), len(b), 1)
