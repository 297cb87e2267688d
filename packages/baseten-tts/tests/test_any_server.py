"""A server that says anything at all: an utterance is whole, or it is an error, and it ends."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from livekit.agents import APIConnectOptions, APIError
from livekit.plugins.baseten_common import timeout
from livekit.plugins.baseten_tts import TTS

OPTIONS = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=0.3)
TEXT = "one two three four five. six seven eight nine ten."  # at least a second


def anything(choice: random.Random, port: str) -> str | bytes:
    second = bytes(48000)
    start = {"type": "audio.start", "sentence_index": 0, "sample_rate": 24000, "format": "pcm"}
    options: list[Any] = [
        second,
        second,
        bytes(choice.randrange(200)),
        start,
        {"type": "audio.done", "sentence_index": 0, "error": choice.random() < 0.2},
        {"type": "session.done", "total_sentences": choice.randrange(2)},
        {"type": "error", "message": "something"},
        {"error": "something"},
        {"type": "audio.start", "format": choice.choice(["mp3", None, 7]), "sample_rate": "x"},
        "words",
        "{",
        "null",
        "[1]",
    ]
    message = choice.choice(options)
    return message if isinstance(message, (str, bytes)) else json.dumps(message)


@pytest.fixture
async def server(http_context: None) -> AsyncIterator[tuple[str, dict[str, random.Random]]]:
    dice = {"choice": random.Random(0)}

    async def websocket(request: web.Request) -> web.StreamResponse:
        choice = dice["choice"]
        if choice.random() < 0.1:
            return web.Response(status=choice.choice([200, 302, 400, 404, 500]), text="no")
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        say = [anything(choice, "ws") for _ in range(choice.randrange(9))]
        async for message in ws:
            if message.type == WSMsgType.TEXT and message.data in (
                "__END__",
                '{"type": "input.done"}',
            ):
                break
            if say and choice.random() < 0.1:
                part = say.pop()
                await (ws.send_str(part) if isinstance(part, str) else ws.send_bytes(part))
        for part in say:
            await (ws.send_str(part) if isinstance(part, str) else ws.send_bytes(part))
        end = choice.random()
        if end < 0.6:
            await ws.close(code=choice.choice([1000, 1000, 1001, 1011, 4000]))
        elif end < 0.8 and request.transport:
            request.transport.abort()
        else:
            await ws.receive()  # says nothing more
        return ws

    async def predict(request: web.Request) -> web.StreamResponse:
        choice = dice["choice"]
        types = ["audio/wav", "application/json", "text/plain", "audio/mpeg", "x/y"]
        answer = web.StreamResponse(
            status=choice.choice([200, 200, 200, 200, 204, 404, 500]),
            headers={"Content-Type": choice.choice(types)},
        )
        await answer.prepare(request)
        for _ in range(choice.randrange(5)):
            part = anything(choice, "http")
            await answer.write(part.encode() if isinstance(part, str) else part)
        if choice.random() < 0.2 and request.transport:
            request.transport.abort()
        return answer

    app = web.Application()
    app.router.add_get("/ws", websocket)
    app.router.add_post("/http", predict)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"127.0.0.1:{runner.addresses[0][1]}", dice
    await runner.cleanup()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("block", range(3))
@pytest.mark.parametrize("way", ["orpheus-ws", "orpheus-http", "qwen3-tts", "generic"])
async def test_an_utterance_ends_whole_or_in_an_error(
    server: tuple[str, dict[str, random.Random]], way: str, block: int
) -> None:
    address, dice = server
    scheme, path = ("http", "http") if way in ("orpheus-http", "generic") else ("ws", "ws")
    for seed in range(15):
        dice["choice"] = random.Random(100 * block + seed)
        tts = TTS(
            model="orpheus" if way.startswith("orpheus") else way,  # type: ignore[arg-type]
            api_key="k",
            voice="me",
            model_endpoint=f"{scheme}://{address}/{path}",
            warm_sockets=seed % 2,
        )
        audio = b""
        whole = True
        try:
            async with timeout(30), tts.stream(conn_options=OPTIONS) as stream:
                stream.push_text(TEXT)
                stream.end_input()
                async for event in stream:
                    audio += bytes(event.frame.data)
        except APIError:
            whole = False
        finally:
            await tts.aclose()
        if whole:
            assert len(audio) >= 48000 * 10 * 0.1
