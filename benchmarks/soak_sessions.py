"""The sessions of the soak: what they say, and how what comes back is judged."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from soak_server import KEY, WORDS

from livekit import rtc
from livekit.agents import APIConnectOptions, APIError, utils
from livekit.agents.llm import ChatContext
from livekit.agents.stt import SpeechEventType
from livekit.plugins import baseten
from livekit.plugins.baseten_sandbox.engines.tones import read, silence, speak

__all__ = ["Cast", "Score"]

BOUND = 60.0  # seconds that anything may take at the very most
PATIENT = APIConnectOptions(max_retry=50, retry_interval=0.05, timeout=2.0)
BRISK = APIConnectOptions(max_retry=2, retry_interval=0.05, timeout=2.0)
TURNS = (3, 12)  # turns that one stream of speech has
KEPT = 20  # violations that are told in full


class Score:
    """What came of everything, counted."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.by_protocol: dict[str, Counter[str]] = {}
        self.violations: list[dict[str, Any]] = []
        self.slowest: dict[str, float] = {}

    def count(self, protocol: str, what: str, number: int = 1) -> None:
        self.counts[what] += number
        self.by_protocol.setdefault(protocol, Counter())[what] += number

    def violate(self, protocol: str, what: str, number: int = 1, **details: Any) -> None:
        self.count(protocol, what, number)
        if len(self.violations) < KEPT:
            self.violations.append({"protocol": protocol, "what": what, **details})

    def took(self, what: str, seconds: float) -> None:
        self.slowest[what] = max(self.slowest.get(what, 0.0), seconds)

    def whole(self, protocol: str, want: list[str], got: list[str]) -> None:
        """Judge what must be there word for word."""
        self.count(protocol, "words", len(want))
        if got == want:
            return
        lost, more = Counter(want) - Counter(got), Counter(got) - Counter(want)
        details = {"want": " ".join(want), "got": " ".join(got)}
        if lost:
            self.violate(protocol, "words lost", lost.total(), **details)
        if more:
            self.violate(protocol, "words too many", more.total(), **details)
        if not lost and not more:
            self.violate(protocol, "out of order", **details)

    def begun(self, protocol: str, want: list[str], got: list[str]) -> None:
        """Judge what broke off: it must be the beginning, but for a last word cut in two."""
        if got and got[-1] not in want[: len(got)]:
            got = got[:-1]
        self.count(protocol, "words", len(got))
        if got != want[: len(got)]:
            details = {"want": " ".join(want), "got": " ".join(got)}
            self.violate(protocol, "out of order", **details)


class Cast:
    """Sessions that talk to the deployments, each in turn or all at once."""

    def __init__(self, origin: str, *, seed: int, speed: float, until: float, score: Score) -> None:
        self._origin = origin
        self._chance = random.Random(seed)
        self._speed = speed
        self._until = until
        self._score = score
        self._next = 0

    @property
    def over(self) -> bool:
        return time.monotonic() > self._until

    def _url(self, deployment: str, route: str, scheme: str = "http") -> str:
        origin = self._origin.replace("http", scheme, 1)
        return f"{origin}/model-{deployment}/environments/production/{route}"

    def _words(self, number: int) -> list[str]:
        start, self._next = self._next, self._next + number
        return [f"w{n % WORDS}" for n in range(start, start + number)]

    async def bounded(self, protocol: str, what: str, work: Awaitable[Any]) -> Any:
        """The result of work that mustn't take for ever; None when it does."""
        start = time.monotonic()
        try:
            return await asyncio.wait_for(work, BOUND)
        except asyncio.TimeoutError:
            self._score.violate(protocol, "hangs", doing=what)
            return None
        finally:
            self._score.took(f"{protocol}: {what}", time.monotonic() - start)

    # --- speech to text

    async def talk(self, protocol: str, deployment: str) -> None:
        """Speak turn after turn in real time, on one stream after another."""
        while not self.over:
            stt = baseten.STT(
                model=protocol,
                api_key=KEY,
                model_endpoint=self._url(deployment, "websocket", "ws"),
                dead_link_timeout=1.0,
                cold_start_timeout=0.0,  # a silent peer is a dead one here
                final_transcript_max_duration_s=8,
                replay_speed=16.0,
            )
            if self._chance.random() < 0.3:
                stt.prewarm()
            for _ in range(2):
                await self._stream_speech(protocol, stt)
            await self._leave(protocol, stt)

    async def _stream_speech(self, protocol: str, stt: Any) -> None:
        score, chance = self._score, self._chance
        stream = stt.stream(conn_options=PATIENT)
        got: list[str] = []
        speaking = 0

        async def listen() -> None:
            nonlocal speaking
            async for event in stream:
                if event.type == SpeechEventType.FINAL_TRANSCRIPT:
                    got.extend(event.alternatives[0].text.split())
                speaking += event.type == SpeechEventType.START_OF_SPEECH
                speaking -= event.type == SpeechEventType.END_OF_SPEECH
                if speaking not in (0, 1):
                    score.violate(protocol, "turns out of balance")

        listening = asyncio.create_task(listen())
        want: list[str] = []
        for _ in range(chance.randint(*TURNS)):
            words = self._words(chance.randint(1, 12))
            want += words
            pcm = np.concatenate([speak(words)[0], silence(chance.uniform(0.7, 2.0))])
            for at in range(0, len(pcm), 800):
                part = pcm[at : at + 800]
                stream.push_frame(rtc.AudioFrame(part.tobytes(), 16000, 1, len(part)))
                await asyncio.sleep(0.05 / self._speed)
            if chance.random() < 0.2:
                stream.flush()
            if self.over:
                break
        stream.end_input()
        error: BaseException | None = None
        try:
            await self.bounded(protocol, "the end of a stream", listening)
        except APIError as e:
            error = e
        await self.bounded(protocol, "closing a stream", stream.aclose())
        score.count(protocol, "streams")
        if error is not None:
            score.count(protocol, "streams that ended in an error")
            score.violate(protocol, "streams given up", error=str(error)[:300])
        else:
            score.whole(protocol, want, got)
            if speaking:
                score.violate(protocol, "turns out of balance")

    # --- text to speech

    async def recite(self, protocol: str, model: str, deployment: str, route: str) -> None:
        """Have utterances spoken, and interrupt some."""
        while not self.over:
            options: dict[str, Any] = {"warm_sockets": self._chance.choice([0, 1, 2])}
            if model == "qwen3-tts":
                options |= {"task_type": "CustomVoice", "voice": "vivian"}
            scheme = "ws" if route == "websocket" else "http"
            url = self._url(deployment, route, scheme)
            tts = baseten.TTS(model=model, api_key=KEY, model_endpoint=url, **options)
            tts.prewarm()
            for _ in range(10):
                await self._utterance(protocol, tts)
                await asyncio.sleep(self._chance.uniform(0.0, 0.3))
                if self.over:
                    break
            await self._leave(protocol, tts)

    async def _utterance(self, protocol: str, tts: Any) -> None:
        chance = self._chance
        want: list[str] = []
        for _ in range(chance.randint(1, 3)):
            want += self._words(chance.randint(1, 8))
            want[-1] += "."
        text = " ".join(want)
        audio = bytearray()
        interrupted = chance.random() < 0.2

        async def hear(stream: Any) -> None:
            frames = 0
            stop = chance.randint(0, 5)
            async for event in stream:
                audio.extend(event.frame.data)
                frames += 1
                if interrupted and frames > stop:
                    return

        async def speak_text() -> None:
            if chance.random() < 0.3:
                async with tts.synthesize(text, conn_options=BRISK) as chunked:
                    await hear(chunked)
                return
            async with tts.stream(conn_options=BRISK) as stream:
                hearing = asyncio.create_task(hear(stream))
                try:
                    at = 0
                    while at < len(text):
                        size = chance.randint(1, 12)
                        stream.push_text(text[at : at + size])
                        at += size
                        await asyncio.sleep(0.005)
                    stream.end_input()
                    await hearing
                finally:
                    await utils.aio.cancel_and_wait(hearing)

        def heard() -> list[str]:
            return [word.text for word in read(bytes(audio), rate=24000)]

        await self._judged(protocol, "utterances", speak_text(), want, heard, interrupted)

    # --- language model

    async def ask(self, protocol: str) -> None:
        """Ask for answers, and interrupt some."""
        while not self.over:
            llm = baseten.LLM(api_key=KEY, base_url=self._url("llm1", "sync/v1"))
            for _ in range(10):
                await self._answer(protocol, llm)
                await asyncio.sleep(self._chance.uniform(0.0, 0.3))
                if self.over:
                    break
            await self._leave(protocol, llm)

    async def _answer(self, protocol: str, llm: Any) -> None:
        chance = self._chance
        first = chance.randrange(WORDS)
        last = first + chance.randint(1, 40)
        chat_ctx = ChatContext()
        chat_ctx.add_message(role="user", content=f"{first} {last}")
        interrupted = chance.random() < 0.2
        stop = chance.randint(0, 20)
        said: list[str] = []

        async def listen() -> None:
            async with llm.chat(chat_ctx=chat_ctx, conn_options=BRISK) as stream:
                async for chunk in stream:
                    if chunk.delta and chunk.delta.content:
                        said.append(chunk.delta.content)
                    if interrupted and len(said) > stop:
                        return

        want = [f"w{n}" for n in range(first, last)]
        await self._judged(
            protocol, "answers", listen(), want, lambda: "".join(said).split(), interrupted
        )

    # --- what all have in common

    async def _judged(
        self,
        protocol: str,
        what: str,
        work: Awaitable[None],
        want: list[str],
        got: Callable[[], list[str]],
        interrupted: bool,
    ) -> None:
        score = self._score
        score.count(protocol, what)
        try:
            await self.bounded(protocol, what, work)
        except APIError:
            score.count(protocol, f"{what} that ended in an error")
            score.begun(protocol, want, got())
            return
        if interrupted:
            score.count(protocol, f"{what} interrupted")
            score.begun(protocol, want, got())
        else:
            score.whole(protocol, want, got())

    async def _leave(self, protocol: str, model: Any) -> None:
        # As sessions do, some are simply dropped.
        if self._chance.random() < 0.6:
            await self.bounded(protocol, "closing", model.aclose())
