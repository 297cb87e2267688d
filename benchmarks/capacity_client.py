"""Calls of an agent in one process; see ``capacity.py``.

A call is what an agent's job holds: streaming speech-to-text that hears all the time, and each so
often an answer of the LLM that is spoken as it comes. What LiveKit itself does in a job (the room,
voice activity detection, playing) isn't here.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from process import serve
from report import percentile

from livekit import rtc
from livekit.agents import APIConnectOptions
from livekit.agents.llm import ChatContext
from livekit.plugins.baseten_llm import LLM
from livekit.plugins.baseten_stt import STT
from livekit.plugins.baseten_tts import TTS

_RATE = 16000
_PIECE = 0.05  # seconds, as a room gives it
_PHASES = 10  # so many moments of a piece at which calls get theirs
_CONN = APIConnectOptions(max_retry=0, timeout=10.0)


def _memory() -> float:
    """Megabytes that are this process's alone, where the system tells."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    sizes = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return sum(sizes) / 1024


def _sockets() -> int:
    """Sockets that this process has open, where the system tells."""
    found = 0
    with suppress(FileNotFoundError):
        for fd in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                found += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    return found


class _Ledger:
    """What was noticed since the last look."""

    def __init__(self) -> None:
        self.behind: list[float] = []  # seconds that audio was pushed too late
        self.delays: list[float] = []  # seconds from the server's message to LiveKit's event
        self.first: list[float] = []  # seconds from a question to the first sound
        self.spoken = 0.0
        self.answers = 0
        self.failed: list[str] = []


class _Call:
    """One call."""

    def __init__(self, place: dict[str, Any], shape: dict[str, Any], session: Any) -> None:
        key = place["key"]
        self._shape = shape
        self._stt = STT(api_key=key, model_endpoint=place["stt"], http_session=session)
        self._tts = TTS(
            api_key=key,
            model_endpoint=place["tts"],
            http_session=session,
            warm_sockets=shape["warm_sockets"],
        )
        self._llm = LLM(api_key=key, base_url=place["llm"])
        self.hearing = self._stt.stream(conn_options=_CONN)
        self._tts.prewarm()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._answer())]

    async def _listen(self) -> None:
        async for event in self.hearing:
            if event.type.value in ("interim_transcript", "final_transcript"):
                sent = float(event.alternatives[0].text.split(" ")[-1])
                LEDGER.delays.append(time.monotonic() - sent)

    async def _answer(self) -> None:
        pause = self._shape["turn"]
        await asyncio.sleep(random.uniform(0, pause))
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await self._speak(begun)
                LEDGER.answers += 1
            except Exception as error:
                LEDGER.failed.append(repr(error)[:200])
            await asyncio.sleep(max(0.0, begun + pause - loop.time()))

    async def _speak(self, begun: float) -> None:
        chat_ctx = ChatContext()
        chat_ctx.add_message(role="user", content="Tell me something.")
        extra = {"max_tokens": self._shape["tokens"]}
        async with self._tts.stream(conn_options=_CONN) as speech:
            hearing = asyncio.create_task(self._hear(speech, begun))
            try:
                async with self._llm.chat(
                    chat_ctx=chat_ctx, extra_kwargs=extra, conn_options=_CONN
                ) as answer:
                    async for chunk in answer:
                        if chunk.delta and chunk.delta.content:
                            speech.push_text(chunk.delta.content)
                speech.end_input()
                await hearing
            finally:
                hearing.cancel()
                await asyncio.wait([hearing])

    async def _hear(self, speech: Any, begun: float) -> None:
        first = True
        async for event in speech:
            if first:
                LEDGER.first.append(asyncio.get_running_loop().time() - begun)
                first = False
            LEDGER.spoken += event.frame.duration

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self.hearing.aclose()
        for model in (self._stt, self._tts, self._llm):
            await model.aclose()


LEDGER = _Ledger()
_CALLS: list[_Call] = []
_OPEN: dict[str, Any] = {}


async def _microphones(tape: list[rtc.AudioFrame]) -> None:
    """Give all calls audio in real time, by one timer: the clock isn't what is measured."""
    loop = asyncio.get_running_loop()
    start, tick = loop.time(), 0
    while True:
        for phase in range(min(_PHASES, len(_CALLS))):
            due = start + (tick + phase / _PHASES) * _PIECE
            await asyncio.sleep(due - loop.time())
            LEDGER.behind.append(max(0.0, loop.time() - due))
            for call in _CALLS[phase::_PHASES]:
                call.hearing.push_frame(tape[tick % len(tape)])
        tick += 1


async def hold(
    number: int, seconds: float, place: dict[str, Any], shape: dict[str, Any]
) -> dict[str, Any]:
    """Have so many calls, and watch them.

    Args:
        number: Calls to have open; those that there are go on.
        seconds: How long they are watched once all have begun.
        place: ``key``, and the URLs ``stt``, ``tts`` and ``llm``.
        shape: ``turn`` in seconds, ``tokens`` an answer, ``warm_sockets``.
    """
    global LEDGER
    _OPEN.setdefault("sockets", _sockets())
    if number and not _CALLS:
        # LiveKit's own session takes 50 connections to a host.
        _OPEN["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        noise = random.Random(1).randbytes(int(6 * _RATE) * 2)
        size = int(_PIECE * _RATE)
        tape = [
            rtc.AudioFrame(noise[at : at + 2 * size], _RATE, 1, size)
            for at in range(0, len(noise), 2 * size)
        ]
        _CALLS.append(_Call(place, shape, _OPEN["session"]))
        _OPEN["microphones"] = asyncio.create_task(_microphones(tape))
    for _ in range(number - len(_CALLS)):
        _CALLS.append(_Call(place, shape, _OPEN["session"]))
        await asyncio.sleep(0.01)
    # The first turn of each opens connections.
    await asyncio.sleep(shape["turn"] if number else 0.0)
    LEDGER = _Ledger()
    sockets = _sockets()
    cpu, wall = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    seen = LEDGER
    sockets = (sockets + _sockets()) / 2 - _OPEN["sockets"]
    return {
        "calls": number,
        "cpu": cpu / wall,
        "memory": _memory(),
        "sockets": sockets,
        "behind": percentile(seen.behind, 99) if seen.behind else 0.0,
        "delay": percentile(seen.delays, 99) if seen.delays else 0.0,
        "first": percentile(seen.first, 50) if seen.first else 0.0,
        "speaking": seen.spoken / wall / number if number else 0.0,
        "answers": seen.answers,
        "failed": len(seen.failed),
        "failures": seen.failed[:3],
    }


async def close() -> None:
    """End all calls."""
    await asyncio.gather(*(call.close() for call in _CALLS))
    _CALLS.clear()
    if "session" in _OPEN:
        _OPEN["microphones"].cancel()
        await asyncio.wait([_OPEN["microphones"]])
        await _OPEN["session"].close()
    _OPEN.clear()


if __name__ == "__main__":
    # As LiveKit does before it makes job processes: what was imported isn't looked through again.
    gc.collect()
    gc.freeze()
    serve({job.__name__: job for job in (hold, close)})
