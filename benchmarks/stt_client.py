"""Clients of streaming speech-to-text, in processes of their own; see :mod:`arena`.

Run with the kind of client: ``bare``, ``ours``, ``peer``, ``floor`` (see :mod:`floor`), or ``room``,
which takes audio and does nothing with it. It also runs in the environment of the peer.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
from process import serve

KIND = sys.argv[1]
RATE = 16000
PIECE = RATE // 20  # samples: 50 ms, as a room gives audio
FRAME = 512
PHASES = 10  # streams don't all speak at the same instant
MIN_SILENCE = {"whisper": 300, "qwen3-asr": 500}  # ms; the defaults of both plugins
# What was heard: whether it is final, and the text.
Hear = Callable[[bool, str], None]


def cut(pcm: bytes) -> list[bytes]:
    """Audio in pieces as a room gives it."""
    return [pcm[at : at + 2 * PIECE] for at in range(0, len(pcm), 2 * PIECE)]


class Room:
    """A stream that nobody listens to: what the room itself costs."""

    def __init__(self, hear: Hear) -> None:
        self._hear = hear

    async def open(self) -> None:
        self._hear(False, "")

    async def push(self, piece: Any) -> None:
        pass

    async def close(self) -> None:
        pass

    @staticmethod
    def piece(pcm: bytes) -> Any:
        return pcm


class Bare:
    """The least that a client of the protocol can do over aiohttp."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, key: str, model: str, interval: float,
        hear: Hear, *, redial: bool = False,
    ) -> None:  # fmt: skip
        self._session, self._url, self._key = session, url, key
        self._qwen, self._interval, self._hear = model == "qwen3-asr", interval, hear
        self._silence = MIN_SILENCE[model]
        self._redial = redial
        self._rest = b""
        self._ws: Any = None
        self._listening: asyncio.Task[None] | None = None
        self.handshakes: list[float] = []

    async def open(self) -> None:
        start = time.monotonic()
        headers = {"Authorization": f"Bearer {self._key}"}
        self._ws = await self._session.ws_connect(self._url, headers=headers)
        self.handshakes.append(time.monotonic() - start)
        await self._ws.send_str(
            json.dumps(
                {
                    "whisper_params": {
                        "audio_language": "auto" if self._qwen else "en",
                        "show_word_timestamps": not self._qwen,
                    },
                    "streaming_params": {
                        "enable_partial_transcripts": True,
                        "partial_transcript_interval_s": self._interval,
                    },
                    "streaming_vad_config": {"min_silence_duration_ms": self._silence},
                }
            )
        )
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            async for message in self._ws:
                parsed = json.loads(message.data)
                if "segments" in parsed:
                    text = " ".join(segment["text"] for segment in parsed["segments"])
                    self._hear(parsed["is_final"], text)
                elif "transcript" in parsed:
                    self._hear(parsed["is_final"], parsed["transcript"])
            if not self._redial:
                return
            await self.open()

    async def push(self, piece: bytes) -> None:
        if self._redial and self._ws.closed:
            return  # said while nobody listened
        if self._qwen:
            audio = base64.b64encode(piece).decode()
            await self._ws.send_str(f'{{"type":"input_audio_buffer.append","audio":"{audio}"}}')
            return
        rest = self._rest + piece
        while len(rest) >= 2 * FRAME:
            await self._ws.send_bytes(rest[: 2 * FRAME])
            rest = rest[2 * FRAME :]
        self._rest = rest

    async def flush(self) -> None:
        if self._qwen:
            await self._ws.send_str('{"type": "input_audio_buffer.commit"}')
            return
        # As ours does it: the server's count of silent frames, and four more.
        if self._rest:
            await self.push(bytes(2 * FRAME - len(self._rest)))
        for _ in range(1 + -(-self._silence // 32) + 4):
            await self._ws.send_bytes(bytes(2 * FRAME))

    async def close(self) -> None:
        self._redial = False
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        if self._ws is not None:
            await self._ws.close()

    @staticmethod
    def piece(pcm: bytes) -> Any:
        return pcm


class Plugin:
    """A stream of a LiveKit plugin, ours or the peer's."""

    def __init__(self, stt: Any, hear: Hear) -> None:
        self._stt, self._hear = stt, hear
        self._listening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._stream = self._stt.stream()
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self._stream:
            if event.type.value in ("interim_transcript", "final_transcript"):
                self._hear(event.type.value == "final_transcript", event.alternatives[0].text)

    async def push(self, piece: Any) -> None:
        self._stream.push_frame(piece)

    async def flush(self) -> None:
        # As a session does: only a plugin that declares it is told.
        if getattr(self._stt.capabilities, "manual_flush", False):
            self._stream.flush()

    async def close(self) -> None:
        await self._stream.aclose()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
            if not self._listening.cancelled():
                self._listening.exception()

    @staticmethod
    def piece(pcm: bytes) -> Any:
        from livekit import rtc

        return rtc.AudioFrame(pcm, RATE, 1, len(pcm) // 2)


def connect(session: aiohttp.ClientSession, url: str, key: str, model: str, interval: float) -> Any:
    """What makes a stream of this kind of client, given who hears."""
    if KIND == "room":
        return Room
    if KIND == "bare":
        return lambda hear, **more: Bare(session, url, key, model, interval, hear, **more)
    if KIND == "floor":
        from floor import FloorSTT

        least = FloorSTT(lambda hear: Bare(session, url, key, model, interval, hear))
        return lambda hear, **more: Plugin(least, hear)
    if KIND == "peer":
        from livekit.plugins.baseten import STT  # the published one, by its interpreter
    else:
        from livekit.plugins.baseten_stt import STT
    stt = STT(
        model=model,
        api_key=key,
        model_endpoint=url,
        partial_transcript_interval_s=interval,
        http_session=session,
    )
    return lambda hear, **more: Plugin(stt, hear)


def pieces(pcm: bytes) -> list[Any]:
    """Audio as a stream of this kind takes it, made before anything is measured."""
    kind = {"room": Room, "bare": Bare}.get(KIND, Plugin)
    return [kind.piece(piece) for piece in cut(pcm)]  # type: ignore[attr-defined]


async def leave(streams: list[Any]) -> None:
    """Close streams. Nothing is measured any more, so whatever still hangs then may."""
    closing = [asyncio.create_task(stream.close()) for stream in streams]
    _, hanging = await asyncio.wait(closing, timeout=20.0)
    for task in hanging:
        task.cancel()


def session_() -> aiohttp.ClientSession:
    """A session without a limit of connections: LiveKit's takes 50 to a host."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


class Speech:
    """Has streams hear audio in real time, over and over, with one timer for all of them."""

    def __init__(self, streams: list[Any], tape: list[Any]) -> None:
        self._streams, self._tape = streams, tape
        self.pushed = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        phases = min(PHASES, len(self._streams))
        groups = [self._streams[phase::phases] for phase in range(phases)]
        start, tick, length = loop.time(), 0, len(self._tape)
        while True:
            await asyncio.sleep(start + tick * 0.05 / phases - loop.time())
            piece = self._tape[tick // phases % length]
            for stream in groups[tick % phases]:
                await stream.push(piece)
                self.pushed += 1
            tick += 1


async def listen(
    url: str, key: str, tape: str, streams: int, seconds: float, interval: float
) -> dict[str, Any]:
    """Hear so many streams at once for so long; CPU, and how old each transcript was."""
    recorded = pieces(await asyncio.to_thread(Path(tape).read_bytes))
    delays: list[float] = []
    heard: set[int] = set()
    measuring = False

    def hear(number: int) -> Hear:
        def note(final: bool, text: str) -> None:
            now = time.monotonic()
            heard.add(number)
            if measuring:
                delays.append(now - float(text.rpartition(" ")[2]))

        return note

    async with session_() as session:
        make = connect(session, url, key, "whisper", interval)
        opened = [make(hear(number)) for number in range(streams)]
        for at in range(0, streams, 25):
            await asyncio.gather(*(stream.open() for stream in opened[at : at + 25]))
            await asyncio.sleep(0.05)
        speech = Speech(opened, recorded)
        speaking = asyncio.create_task(speech.run())
        patience = time.monotonic() + 30.0
        while len(heard) < streams:
            await asyncio.sleep(0.1)
            if speaking.done() or time.monotonic() > patience:
                speaking.cancel()
                raise RuntimeError(f"only {len(heard)} of {streams} streams heard anything")
        await asyncio.sleep(0.5)
        measuring, pushed, began, cpu = True, speech.pushed, time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        measuring, cpu = False, time.process_time() - cpu
        audio, took = (speech.pushed - pushed) * PIECE / RATE, time.monotonic() - began
        speaking.cancel()
        await leave(opened)
    return {"cpu": cpu, "audio": audio, "pace": audio / streams / took, "delays": delays}


async def turns(url: str, key: str, model: str, tape: str, streams: int, count: int) -> list[float]:
    """Seconds from the end of the speaker's words to the final, for so many turns of each stream."""
    words = pieces(await asyncio.to_thread(Path(tape).read_bytes))
    quiet = pieces(bytes(2 * PIECE))[0]
    waits: list[float] = []

    async def talk(make: Any, number: int) -> None:
        loop = asyncio.get_running_loop()
        heard: list[float] = []
        final = asyncio.Event()

        def hear(is_final: bool, text: str) -> None:
            if is_final and text:
                heard.append(time.monotonic())
                final.set()

        stream = make(hear)
        await stream.open()
        at = loop.time() + 0.5 + 0.037 * number

        async def say(piece: Any) -> None:
            nonlocal at
            await asyncio.sleep(at - loop.time())
            await stream.push(piece)
            at += 0.05

        for turn in range(count + 1):
            for piece in words:
                await say(piece)
            heard.clear()
            final.clear()
            stopped = time.monotonic()
            await stream.flush()
            # The room goes on being silent while the final is waited for.
            for _ in range(60):
                await say(quiet)
                if heard:
                    break
            await asyncio.wait_for(final.wait(), 5.0)
            if turn:  # the first also waits for the connection
                waits.append(heard[0] - stopped)
            for _ in range(4 + number % 4):
                await say(quiet)
        await stream.close()

    async with session_() as session:
        make = connect(session, url, key, model, 1.0)
        await asyncio.gather(*(talk(make, number) for number in range(streams)))
    return waits


async def recover(url: str, key: str, tape: str, interval: float) -> dict[str, Any]:
    """Hear numbered words; the longest time without a new one, and which were heard at last."""
    recorded = pieces(await asyncio.to_thread(Path(tape).read_bytes))
    finals: list[str] = []
    news: list[float] = []
    newest = -1

    def hear(final: bool, text: str) -> None:
        nonlocal newest
        known = [int(word[1:]) for word in text.split() if word[1:].isdigit()]
        if known and max(known) > newest:
            newest = max(known)
            news.append(time.monotonic())
        if final:
            finals.append(text)

    async with session_() as session:
        make = connect(session, url, key, "whisper", interval)
        stream = make(hear, redial=True) if KIND == "bare" else make(hear)
        await stream.open()
        await asyncio.sleep(0.5)
        at = asyncio.get_running_loop().time()
        for piece in recorded:
            await asyncio.sleep(at - asyncio.get_running_loop().time())
            await stream.push(piece)
            at += 0.05
        await asyncio.sleep(0.5)
        await stream.close()
    return {
        "longest": max((b - a for a, b in pairwise(news)), default=0.0),
        "heard": sorted({int(w[1:]) for w in " ".join(finals).split() if w[1:].isdigit()}),
        "handshakes": getattr(stream, "handshakes", []),
    }


def resident() -> float:
    """Megabytes of memory in use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def hold(
    url: str, key: str, tape: str, streams: int, seconds: float, traced: bool
) -> dict[str, float]:
    """Hear so many streams for so long; the most memory that each took, in megabytes."""
    recorded = pieces(await asyncio.to_thread(Path(tape).read_bytes))
    async with session_() as session:
        make = connect(session, url, key, "whisper", 1.0)

        def deaf(final: bool, text: str) -> None:
            pass

        # What is loaded once, with the first stream, isn't the streams'.
        first = make(deaf)
        await first.open()
        speaking = asyncio.create_task(Speech([first], recorded).run())
        await asyncio.sleep(1.0)
        speaking.cancel()
        await first.close()
        gc.collect()
        if traced:
            tracemalloc.start()
        before, base = resident(), tracemalloc.get_traced_memory()[0]
        opened = [make(deaf) for _ in range(streams)]
        for at in range(0, streams, 25):
            await asyncio.gather(*(stream.open() for stream in opened[at : at + 25]))
            await asyncio.sleep(0.05)
        speaking = asyncio.create_task(Speech(opened, recorded).run())
        most = 0.0
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            await asyncio.sleep(min(1.0, until - now))
            most = max(most, resident())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        speaking.cancel()
        await leave(opened)
    return {"resident": (most - before) / streams, "traced": (peak - base) / streams / 1e6}


if __name__ == "__main__":
    serve({job.__name__: job for job in (listen, turns, recover, hold)})
