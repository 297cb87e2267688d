"""Clients of text-to-speech, in processes of their own; see :mod:`arena`.

Run with the kind of client: ``bare``, ``ours``, ``peer`` or ``floor`` (see :mod:`floor`). It also runs in the environment of the
peer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import random
import sys
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from process import serve

KIND = sys.argv[1]
QWEN = {"model": "qwen3-tts", "voice": "vivian", "task_type": "CustomVoice"}
# What the plugins are told of each protocol.
OPTIONS: dict[str, dict[str, Any]] = {
    "orpheus-ws": {},
    "orpheus-http": {},
    "qwen3-tts": QWEN,
    "qwen3-tts-one-shot": QWEN,
    "generic": {"model": "generic"},
}
BYTES_PER_SECOND = 48000


class BareSocket:
    """The least over a WebSocket: one that is open already, frames out, frames in."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str, way: str) -> None:
        self._session, self._url, self._way = session, url, way
        self._headers = {"Authorization": f"Bearer {key}"}
        self._ws: aiohttp.ClientWebSocketResponse | None = None

    async def prepare(self) -> None:
        if self._ws is not None:
            return
        self._ws = await self._session.ws_connect(self._url, headers=self._headers)
        settings: dict[str, Any] = {"voice": "tara", "max_tokens": 2000, "buffer_size": 10}
        if self._way != "orpheus-ws":
            settings = {
                "type": "session.config", "voice": "vivian", "task_type": "CustomVoice",
                "language": "Auto", "response_format": "pcm", "stream_audio": True,
            }  # fmt: skip
        await self._ws.send_str(json.dumps(settings))

    async def say(self, text: str) -> AsyncGenerator[bytes, None]:
        await self.prepare()
        assert self._ws is not None
        if self._way == "orpheus-ws":
            for word in text.split():
                await self._ws.send_str(word)
            await self._ws.send_str("__END__")
        else:
            await self._ws.send_str(json.dumps({"type": "input.text", "text": text}))
            await self._ws.send_str('{"type": "input.done"}')
        try:
            async for message in self._ws:
                if message.type is aiohttp.WSMsgType.BINARY:
                    yield message.data
                    continue
                done = json.loads(message.data).get("type") == "session.done"
                if done and self._way == "qwen3-tts":
                    return
        except GeneratorExit:
            await self.close()
            raise
        await self.close()

    async def close(self) -> None:
        if self._ws is not None:
            await self._ws.close()
            self._ws = None


class BareRequest:
    """The least over HTTP: a request on a connection that is open already."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str, way: str) -> None:
        self._session, self._url, self._way = session, url, way
        self._headers = {"Authorization": f"Bearer {key}"}

    async def prepare(self) -> None:
        origin = urlsplit(self._url)
        async with self._session.get(f"{origin.scheme}://{origin.netloc}/nothing") as answer:
            await answer.read()

    async def say(self, text: str) -> AsyncGenerator[bytes, None]:
        body = {"text" if self._way == "generic" else "prompt": text, "voice": "tara"}
        async with self._session.post(self._url, json=body, headers=self._headers) as answer:
            if self._way == "generic":
                yield base64.b64decode((await answer.json())["base64"])
                return
            async for chunk in answer.content.iter_any():
                yield chunk

    async def close(self) -> None:
        pass


class Plugin:
    """A LiveKit plugin, fed as an LLM feeds it."""

    def __init__(self, url: str, key: str, way: str, **more: Any) -> None:
        from livekit.agents import tts as agents_tts, utils

        if KIND == "floor":
            from floor import FloorTTS

            bare = BareSocket if url.startswith("ws") else BareRequest
            session = utils.http_context.http_session()
            self._tts = self._speaker = FloorTTS(lambda: bare(session, url, key, way))
            return
        if KIND == "peer":
            from livekit.plugins.baseten import TTS  # the published one, by its interpreter
        else:
            from livekit.plugins.baseten_tts import TTS
        options = {**OPTIONS[way], **(more if KIND == "ours" else {})}
        self._tts = TTS(api_key=key, model_endpoint=url, **options)
        streaming = self._tts.capabilities.streaming
        self._speaker = self._tts if streaming else agents_tts.StreamAdapter(tts=self._tts)

    async def prepare(self) -> None:
        pass

    def prewarm(self) -> None:
        self._tts.prewarm()

    async def say(self, text: str) -> AsyncGenerator[bytes, None]:
        stream = self._speaker.stream()
        try:
            for at in range(0, len(text), 5):
                stream.push_text(text[at : at + 5])
            stream.end_input()
            async for event in stream:
                yield event.frame.data
        finally:
            await stream.aclose()

    async def close(self) -> None:
        await self._tts.aclose()


@contextlib.asynccontextmanager
async def voices(url: str, key: str, way: str, **more: Any) -> AsyncGenerator[Callable[[], Any]]:
    """Makes speakers of this kind of client."""
    if KIND == "bare":
        bare = BareSocket if url.startswith("ws") else BareRequest
        async with aiohttp.ClientSession() as session:
            yield lambda: bare(session, url, key, way)
        return
    from livekit.agents import utils

    async with utils.http_context.open():
        plugin = Plugin(url, key, way, **more)
        yield lambda: plugin
        await plugin.close()


async def speak(
    url: str, key: str, way: str, text: str, utterances: int, pause: float, cut: float, seed: int,
    head_start: float,
) -> list[tuple[float, float]]:  # fmt: skip
    """Speak so often, and cut some of it off.

    Returns:
        When each was asked for and when its first audio came, by the monotonic clock.
    """
    choice = random.Random(seed)
    spoken: list[tuple[float, float]] = []
    async with voices(url, key, way) as make:
        voice = make()
        gc.freeze()  # as LiveKit's workers do with what they have imported
        if isinstance(voice, Plugin):
            voice.prewarm()
            await asyncio.sleep(head_start)
        for _ in range(utterances):
            interrupted = choice.random() < cut
            await voice.prepare()
            first: float | None = None
            start = time.monotonic()
            async with contextlib.aclosing(voice.say(text)) as speech:
                async for _ in speech:
                    first = first or time.monotonic()
                    if interrupted and choice.random() < 0.2:
                        break
            if first is None:
                raise RuntimeError("nothing was heard")
            spoken.append((start, first))
            await asyncio.sleep(pause)
        if KIND == "bare":
            await voice.close()
    return spoken


async def stop(url: str, key: str, way: str, text: str, count: int) -> list[float]:
    """Cut so many utterances off; when, by the monotonic clock."""
    closed: list[float] = []
    async with voices(url, key, way, warm_sockets=0) as make:
        for _ in range(count):
            voice = make()
            async with contextlib.aclosing(voice.say(text)) as speech:
                await anext(speech)
                closed.append(time.monotonic())
    return closed


async def work(
    url: str, key: str, way: str, text: str, utterances: int, at_once: int
) -> dict[str, float]:
    """Speak so often, some at once; CPU and seconds of audio."""
    heard = 0

    async def talk(voice: Any) -> int:
        total = 0
        for _ in range(utterances):
            async with contextlib.aclosing(voice.say(text)) as speech:
                async for audio in speech:
                    # A LiveKit frame's data counts samples.
                    total += len(audio) * (1 if KIND == "bare" else 2)
        return total

    async with voices(url, key, way) as make:
        speakers = [make() for _ in range(at_once)]
        async with contextlib.aclosing(speakers[0].say(text)) as speech:
            async for _ in speech:
                pass  # what is done once isn't counted
        cpu = time.process_time()
        heard = sum(await asyncio.gather(*map(talk, speakers)))
        cpu = time.process_time() - cpu
        if KIND == "bare":
            await asyncio.gather(*(speaker.close() for speaker in speakers))
    return {"cpu": cpu, "audio": heard / BYTES_PER_SECOND}


if __name__ == "__main__":
    serve({job.__name__: job for job in (speak, stop, work)})
