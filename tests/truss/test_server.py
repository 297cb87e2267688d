"""What the real server does, beneath our components: the facts that they are built on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

pytestmark = [pytest.mark.truss, pytest.mark.timeout(60, func_only=True)]

MODEL_ERROR = "Internal Server Error (in model/chainlet)."


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_a_model_that_is_loading_refuses_the_handshake(
    start: Callable[..., Any], client: aiohttp.ClientSession
) -> None:
    server = start("streaming-whisper", model="whisper.py", loading=True)
    # By hand: aiohttp's WebSocket client drops the body of a refusal.
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    url = server.endpoint.replace("ws", "http", 1)
    async with client.get(url, headers=handshake) as response:
        assert response.status == 503
        assert json.loads(await response.read()) == {"error": "Model with name model is not ready."}


async def test_what_the_protocol_rejects_closes_with_the_words_of_truss(
    whisper: Any, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(whisper.endpoint) as ws:
        await ws.send_json({"streaming_params": {"unknown": 1}})
        message = await ws.receive(timeout=10)
    assert (message.type, message.data, message.extra) == (
        aiohttp.WSMsgType.CLOSE,
        1011,
        MODEL_ERROR,
    )


async def test_the_ping_that_the_configuration_sets_comes_and_wants_its_pong(
    start: Callable[..., Any], client: aiohttp.ClientSession
) -> None:
    server = start("streaming-whisper", model="whisper.py", ping=(0.2, 0.5))
    async with client.ws_connect(server.endpoint, autoping=False) as ws:
        messages = [await ws.receive(timeout=10), await ws.receive(timeout=10)]
    assert messages[0].type is aiohttp.WSMsgType.PING
    assert messages[1].type is aiohttp.WSMsgType.CLOSE
    assert (messages[1].data, messages[1].extra) == (1011, "keepalive ping timeout")


async def test_a_client_that_leaves_in_mid_speech_leaves_no_trace(
    orpheus: Any, client: aiohttp.ClientSession, tones: Any
) -> None:
    logged = len(orpheus.log)
    (orpheus.folder / "held").touch()
    async with client.ws_connect(orpheus.endpoint) as ws:
        await ws.send_json({"voice": "tara"})
        await ws.send_str("amber birch. cedar patience delta. ember")
        await ws.receive_bytes(timeout=10)
    (orpheus.folder / "held").unlink()
    async with client.ws_connect(orpheus.endpoint) as ws:
        await ws.send_json({"voice": "tara"})
        await ws.send_str("river stone")
        await ws.send_str("__END__")
        audio = b"".join([message.data async for message in ws])
        assert ws.close_code == 1000
    assert [word.text for word in tones.read(audio, rate=24000)] == ["river", "stone"]
    assert "Traceback" not in orpheus.log[logged:]


async def test_an_end_by_signal_closes_with_1012(
    start: Callable[..., Any], client: aiohttp.ClientSession
) -> None:
    server = start("streaming-whisper", model="whisper.py")
    async with client.ws_connect(server.endpoint) as ws:
        await ws.send_json({})
        server.terminate()
        message = await ws.receive(timeout=10)
    assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, 1012, "")
    await asyncio.to_thread(server.restart)
