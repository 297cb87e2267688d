"""Waits end, however much a server says that means nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from livekit.agents import APIConnectOptions, APIError

from .uses import USES, Use, question

IN_A_HURRY = APIConnectOptions(max_retry=0, timeout=0.3)
BOUND = 20.0

NOISE: dict[str, str | bytes] = {
    "unknown": '{"type": "noise"}',
    "nothing": "{}",
    "no-words": '{"type": "transcription", "is_final": false, "segments": []}',
    "empty": b"",
    "trickle": bytes(2),
}


class Chatterbox:
    """Answers each WebSocket, and each POST, with the same over and over."""

    api_key = "sandbox-key"
    port = 0
    noise: str | bytes = ""
    status = 200
    pause = 0.02
    confirms = False

    def __init__(self) -> None:
        self.configured: asyncio.Queue[str] = asyncio.Queue()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            kind = {"Content-Type": "text/event-stream"}
            body = web.StreamResponse(status=self.status, headers=kind)
            await body.prepare(request)
            while True:
                await body.write(b":\n\n")
                await asyncio.sleep(0.02)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if self.confirms:
            async for message in socket:
                if message.data == '{"type": "end_audio"}':
                    await socket.send_json({"type": "end_audio", "body": {"status": "finished"}})
                    break
        talking = asyncio.create_task(self._talk(socket))
        try:
            first = await socket.receive()
            self.configured.put_nowait(first.data)
            async for _ in socket:
                pass
        finally:
            talking.cancel()
        return socket

    async def _talk(self, socket: web.WebSocketResponse) -> None:
        send = socket.send_str if isinstance(self.noise, str) else socket.send_bytes
        while not socket.closed:
            await send(self.noise)  # type: ignore[arg-type]
            await asyncio.sleep(self.pause)

    def url(self, deployment: str, route: str) -> str:
        scheme = "ws" if route == "websocket" else "http"
        path = f"model-{deployment}/environments/production/{route}"
        return f"{scheme}://127.0.0.1:{self.port}/{path}"

    @property
    def stt_endpoint(self) -> str:
        return self.url("whisper1", "websocket")

    @property
    def llm_base_url(self) -> str:
        return self.url("llm1", "v1")


@pytest.fixture
async def chatterbox(http_context: None) -> AsyncIterator[Chatterbox]:
    served = Chatterbox()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", served.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.port = runner.addresses[0][1]
    yield served
    await runner.cleanup()


SOCKETS = [use for use in USES if use.deployment in
           ("whisper1", "whisper2", "qwenasr1", "orpheus2", "qwentts1", "qwentts2")]  # fmt: skip
BODIES = [use for use in USES if use not in SOCKETS]


async def ends(use: Use, chatterbox: Chatterbox) -> None:
    model = use.make(chatterbox)  # type: ignore[arg-type]
    try:
        with pytest.raises(APIError):
            await asyncio.wait_for(use.run(model, IN_A_HURRY), BOUND)
    finally:
        await model.aclose()


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("use", SOCKETS, ids=lambda use: use.name)
async def test_chatter_is_no_answer(use: Use, noise: str, chatterbox: Chatterbox) -> None:
    chatterbox.noise = NOISE[noise]
    await ends(use, chatterbox)


@pytest.mark.parametrize("use", SOCKETS, ids=lambda use: use.name)
async def test_a_flood_of_it_is_no_answer(use: Use, chatterbox: Chatterbox) -> None:
    chatterbox.noise, chatterbox.pause = NOISE["unknown"], 0.0
    await ends(use, chatterbox)


@pytest.mark.parametrize("pause", [0.02, 0.0])
@pytest.mark.parametrize(
    "use", [use for use in SOCKETS if use.name.startswith("whisper")], ids=lambda use: use.name
)
async def test_chatter_in_place_of_a_final_is_none(
    use: Use, pause: float, chatterbox: Chatterbox
) -> None:
    """The end is confirmed, and the final that is missing is waited for."""
    chatterbox.noise, chatterbox.pause, chatterbox.confirms = NOISE["unknown"], pause, True
    model = use.make(chatterbox)  # type: ignore[arg-type]
    try:
        assert await asyncio.wait_for(use.run(model, IN_A_HURRY), BOUND) == ""
    finally:
        await model.aclose()


@pytest.mark.parametrize(
    "use", [use for use in SOCKETS if use.name in ("whisper-stream", "qwen3-asr-stream")],
    ids=lambda use: use.name,
)  # fmt: skip
async def test_chatter_keeps_no_stream_from_going_over_to_its_next_connection(
    use: Use, chatterbox: Chatterbox
) -> None:
    chatterbox.noise, chatterbox.pause = NOISE["unknown"], 0.0
    stt = use.make(chatterbox)  # type: ignore[arg-type]
    async with stt.stream() as stream:
        stream.push_frame(question()[0])
        await asyncio.wait_for(chatterbox.configured.get(), BOUND)
        stt.update_options(language="de")
        configured = await asyncio.wait_for(chatterbox.configured.get(), BOUND)
    assert '"de"' in configured or "German" in configured
    await stt.aclose()


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("use", BODIES, ids=lambda use: use.name)
async def test_a_body_that_trickles_is_no_answer(
    use: Use, status: int, chatterbox: Chatterbox
) -> None:
    chatterbox.status = status
    await ends(use, chatterbox)
