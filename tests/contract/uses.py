"""The ways to use each component, one protocol and one call of LiveKit's each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from livekit import rtc
from livekit.agents import APIConnectOptions
from livekit.agents.llm import ChatContext
from livekit.agents.stt import SpeechEventType
from livekit.plugins.baseten_llm import LLM
from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import read, silence, speak
from livekit.plugins.baseten_stt import STT
from livekit.plugins.baseten_tts import TTS
from telephone import frames

__all__ = ["ASKED", "SAID", "USES", "WARM", "Use", "frames", "heard", "question"]

SAID = "one two three"
ASKED = "count as far as you like"


@dataclass(frozen=True)
class Use:
    """A component on one deployment, and one whole use of it that gives the words of SAID.

    Attributes:
        name: Shown as the id of the test.
        kind: The component.
        make: Makes it, on a sandbox.
        run: Uses it once and gives the words that came out.
        streamed: Whether LiveKit counts it as streamed.
        deployment: The id of its deployment in the sandbox; None for the Model APIs.
    """

    name: str
    kind: Literal["stt", "tts", "llm"]
    make: Callable[[Sandbox], Any]
    run: Callable[[Any, APIConnectOptions], Awaitable[str]]
    streamed: bool
    deployment: str | None

    @property
    def in_one_piece(self) -> bool:
        """Whether the answer is one HTTP body of a length told ahead."""
        return self.deployment in ("whisper3", "whisper4", "kokoro1")

    @property
    def over_http(self) -> bool:
        """Whether speech comes in the body of an answer."""
        return self.deployment in ("orpheus1", "kokoro1")


def question(text: str = SAID) -> list[rtc.AudioFrame]:
    return frames(np.concatenate([silence(0.1), speak(text)[0], silence(0.5)]))


def heard(data: bytes) -> str:
    return " ".join(word.text for word in read(data, rate=24000))


async def _transcribe_stream(stt: Any, conn: APIConnectOptions) -> str:
    async with stt.stream(conn_options=conn) as stream:
        for frame in question():
            stream.push_frame(frame)
        stream.end_input()
        events = [event async for event in stream]
    finals = [e for e in events if e.type == SpeechEventType.FINAL_TRANSCRIPT]
    return " ".join(e.alternatives[0].text for e in finals)


async def _recognize(stt: Any, conn: APIConnectOptions) -> str:
    event = await stt.recognize(question(), conn_options=conn)
    return str(event.alternatives[0].text)


async def _speak_stream(tts: Any, conn: APIConnectOptions) -> str:
    async with tts.stream(conn_options=conn) as stream:
        for piece in ("one t", "wo th", "ree"):
            stream.push_text(piece)
        stream.end_input()
        return heard(b"".join([bytes(event.frame.data) async for event in stream]))


async def _synthesize(tts: Any, conn: APIConnectOptions) -> str:
    async with tts.synthesize(SAID, conn_options=conn) as stream:
        return heard(b"".join([bytes(event.frame.data) async for event in stream]))


async def _ask(llm: Any, conn: APIConnectOptions) -> str:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=ASKED)
    async with llm.chat(chat_ctx=chat_ctx, conn_options=conn) as stream:
        return "".join([chunk.delta.content or "" async for chunk in stream if chunk.delta])


def _stt(deployment: str, **options: Any) -> Callable[[Sandbox], STT]:
    return lambda sandbox: STT(
        api_key=sandbox.api_key,
        model_endpoint=sandbox.url(deployment, "websocket"),
        replay_speed=None,
        cold_start_timeout=0.0,  # a silent peer is a dead one here
        **options,
    )


def _batch(deployment: str, route: str) -> Callable[[Sandbox], STT]:
    return lambda sandbox: STT(
        api_key=sandbox.api_key,
        model_endpoint=sandbox.stt_endpoint,
        batch_endpoint=sandbox.url(deployment, route),
    )


def _tts(deployment: str, route: str, **options: Any) -> Callable[[Sandbox], TTS]:
    # Without warm sockets each connection is an attempt, so that attempts can be counted.
    options.setdefault("warm_sockets", 0)
    return lambda sandbox: TTS(
        api_key=sandbox.api_key, model_endpoint=sandbox.url(deployment, route), **options
    )


def _model_api(sandbox: Sandbox) -> LLM:
    return LLM(api_key=sandbox.api_key, base_url=sandbox.llm_base_url)


def _dedicated(sandbox: Sandbox) -> LLM:
    return LLM(api_key=sandbox.api_key, base_url=sandbox.url("llm1", "sync/v1"))


_QWEN: dict[str, Any] = {"model": "qwen3-tts", "task_type": "CustomVoice", "voice": "vivian"}
_GENERIC: dict[str, Any] = {"model": "generic"}

USES = [
    Use(f"{name}-{call}", "stt", make, run, call == "stream", deployment)
    for name, make, deployment in (
        ("whisper", _stt("whisper1"), "whisper1"),
        ("whisper-chain", _stt("whisper2"), "whisper2"),
        ("qwen3-asr", _stt("qwenasr1", model="qwen3-asr"), "qwenasr1"),
    )
    for call, run in (("stream", _transcribe_stream), ("recognize", _recognize))
]
USES += [
    Use("whisper-batch", "stt", _batch("whisper3", "predict"), _recognize, False, "whisper3"),
    Use("batch-chain", "stt", _batch("whisper4", "run_remote"), _recognize, False, "whisper4"),
]
USES += [
    Use(f"{name}-{call}", "tts", make, run, call == "stream", deployment)
    for name, make, deployment in (
        ("orpheus-http", _tts("orpheus1", "predict"), "orpheus1"),
        ("orpheus-ws", _tts("orpheus2", "websocket"), "orpheus2"),
        ("qwen3-tts", _tts("qwentts1", "websocket", **_QWEN), "qwentts1"),
        ("qwen3-tts-one-shot", _tts("qwentts2", "websocket", **_QWEN), "qwentts2"),
        ("generic", _tts("kokoro1", "predict", **_GENERIC), "kokoro1"),
    )
    for call, run in (("stream", _speak_stream), ("synthesize", _synthesize))
]
USES += [
    Use("model-api", "llm", _model_api, _ask, True, None),
    Use("dedicated", "llm", _dedicated, _ask, True, "llm1"),
]

WARM = [
    Use(f"{name}-warm", "tts", make, _speak_stream, True, deployment)
    for name, make, deployment in (
        ("orpheus-ws", _tts("orpheus2", "websocket", warm_sockets=1), "orpheus2"),
        ("qwen3-tts", _tts("qwentts1", "websocket", warm_sockets=1, **_QWEN), "qwentts1"),
        ("qwen3-tts-one-shot", _tts("qwentts2", "websocket", warm_sockets=2, **_QWEN), "qwentts2"),
        ("orpheus-http", _tts("orpheus1", "predict", warm_sockets=1), "orpheus1"),
    )
]
"""Those that keep connections ahead of use."""
