"""The servers of the benchmarks, in a process of their own; see :mod:`arena`."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
from metronome import Metronome
from process import serve

from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.dialogue import Reply, Text
from livekit.plugins.baseten_sandbox.engines.tones import speak
from livekit.plugins.baseten_sandbox.records import Message, SessionRecord

_RATE = 24000
_CHUNK = 0.085  # seconds: what a decoder of speech gives at a time


class PacedVoice:
    """Speaks 0.3 s a word, so many times faster than real time, as a model on a GPU does."""

    def __init__(self, pace: float) -> None:
        self._pace = pace

    def load(self) -> None:
        """There is nothing to load."""

    def synthesize(self, text: str, *, voice: str | None) -> Iterator[np.ndarray]:
        """See the sandbox's ``Synthesizer``."""
        chunk = (np.sin(np.arange(round(_CHUNK * _RATE)) * 0.06) * 3000).astype(np.int16)
        for _ in range(max(1, round(len(text.split()) * 0.3 / _CHUNK))):
            time.sleep(_CHUNK / self._pace)
            yield chunk


class Talker:
    """Says as many words as it is allowed tokens, at a steady pace or all at once."""

    def __init__(self, pace: float) -> None:
        self._pace = pace

    async def reply(self, request: Any, *, thinks: bool) -> AsyncGenerator[Reply, None]:
        """See the sandbox's ``ChatEngine``."""
        for number in range(request["max_tokens"]):
            yield Text(f" word{number}")
            if self._pace:
                await asyncio.sleep(self._pace)


class Watcher:
    """Notes when each session was seen to end, and what it needed to begin to speak.

    All by the monotonic clock.
    """

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.waits: list[tuple[float, float]] = []  # the last of a text, the first of its audio
        self._asked: dict[int, float] = {}

    def opened(self, session: SessionRecord) -> None:
        """Nothing to note."""

    def passed(self, session: SessionRecord, message: Message) -> None:
        """Note what is the last of a text or the first of its audio."""
        if message.direction == "received":
            self._asked[session.number] = time.monotonic()
        elif isinstance(message.data, bytes) and session.number in self._asked:
            self.waits.append((self._asked.pop(session.number), time.monotonic()))

    def closed(self, session: SessionRecord) -> None:
        """Note it."""
        self.ends.append(time.monotonic())
        self._asked.pop(session.number, None)


_STACK = AsyncExitStack()
_SANDBOXES: dict[str, tuple[Sandbox, Watcher]] = {}


async def sandbox(
    name: str,
    *,
    round_trip: float = 0.0,
    tls: bool = False,
    words: list[str] | None = None,
    speech_pace: float | None = None,
    token_pace: float | None = None,
    transcriber: Any = "tones",
) -> dict[str, Any]:
    """Start a local Baseten whose voices, and ears if nothing else is said, are chords.

    Args:
        name: What later jobs call it.
        round_trip: Seconds, in front of every connection.
        tls: Whether it is served over TLS.
        words: What is spoken to it, in the order in which the speaker learned to.
        speech_pace: How much faster than real time it speaks; None for at once.
        token_pace: Seconds between the tokens of its answers.
        transcriber: The sandbox's name of the model that hears.
    """
    speak(words or [])
    started = Sandbox(
        transcriber=transcriber,
        synthesizer="tones" if speech_pace is None else PacedVoice(speech_pace),
        chat=None if token_pace is None else Talker(token_pace),
        round_trip=round_trip,
        tls=tls,
        keep=False,
    )
    watcher = Watcher()
    started.observe(watcher)
    await _STACK.enter_async_context(started)
    await started.load()
    gc.freeze()  # so that no pause of this process is taken for the network's
    _SANDBOXES[name] = started, watcher
    return {
        "key": started.api_key,
        "llm": started.llm_base_url,
        "certificate": str(started.certificate or ""),
        "urls": {
            id: started.url(id, route)
            for id, route in (
                ("whisper1", "websocket"),
                ("qwenasr1", "websocket"),
                ("orpheus1", "predict"),
                ("orpheus2", "websocket"),
                ("qwentts1", "websocket"),
                ("qwentts2", "websocket"),
                ("kokoro1", "predict"),
            )
        },
    }


async def faults(name: str, plan: list[dict[str, Any]]) -> None:
    """Have each of the next connections suffer one of these."""
    for fault in plan:
        _SANDBOXES[name][0].faults.add(Fault(**fault))


async def ends(name: str, count: int) -> list[float]:
    """When sessions ended since the last call; waits for so many."""
    found, watcher = _SANDBOXES[name]
    await found.wait_for(lambda: len(watcher.ends) >= count, timeout=30.0)
    noted, watcher.ends = watcher.ends, []
    found.faults.clear()
    return noted


async def waits(name: str) -> list[tuple[float, float]]:
    """When each text was there, and the first of its audio went out, since the last call."""
    watcher = _SANDBOXES[name][1]
    noted, watcher.waits = watcher.waits, []
    return noted


async def metronome(mute: bool = False) -> str:
    """Start a :class:`Metronome`; its URL."""
    started = Metronome(mute=mute)
    _STACK.push_async_callback(started.stop)
    return await started.start()


async def cpu() -> float:
    """Seconds of CPU that this process has used."""
    return time.process_time()


async def stop() -> None:
    """Stop all servers."""
    await _STACK.aclose()


if __name__ == "__main__":
    serve({job.__name__: job for job in (sandbox, faults, ends, waits, metronome, cpu, stop)})
