"""The trusses beneath our components: what a client of any kind gets from the real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

pytestmark = [pytest.mark.truss, pytest.mark.timeout(60, func_only=True)]


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(
    "first", [b"\0" * 1024, "{broken", '{"streaming_params": {"unknown": 1}}', "[]"]
)
async def test_what_the_protocol_rejects_closes_with_the_words_of_truss(
    whisper: Any, client: aiohttp.ClientSession, first: bytes | str
) -> None:
    async with client.ws_connect(whisper.endpoint) as ws:
        await (ws.send_bytes(first) if isinstance(first, bytes) else ws.send_str(first))
        message = await ws.receive(timeout=10)
    assert message.type is aiohttp.WSMsgType.CLOSE
    assert message.data == 1011
    assert message.extra == "Internal Server Error (in model/chainlet)."


async def test_a_listener_that_leaves_in_mid_speech_leaves_no_trace(
    orpheus: Any, client: aiohttp.ClientSession, tones: Any
) -> None:
    logged = len(orpheus.log)
    (orpheus.folder / "held").touch()
    async with client.ws_connect(orpheus.endpoint) as ws:
        await ws.send_json({"voice": "tara"})
        await ws.send_str("amber birch cedar. patience delta. ember")
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


async def test_a_speaker_that_leaves_in_mid_turn_leaves_no_trace(
    whisper: Any, client: aiohttp.ClientSession, tones: Any
) -> None:
    logged = len(whisper.log)
    pcm = tones.speak("amber birch cedar")[0]
    frames = [pcm[at : at + 512].tobytes() for at in range(0, len(pcm) - 511, 512)]
    for _ in range(2):
        async with client.ws_connect(whisper.endpoint) as ws:
            await ws.send_json({"streaming_params": {"enable_partial_transcripts": True}})
            for frame in frames:
                await ws.send_bytes(frame)
            assert (await ws.receive_json(timeout=10))["is_final"] is False
            await ws.send_json({"type": "end_audio"})
    async with client.ws_connect(whisper.endpoint) as ws:
        await ws.send_json({})
        await ws.send_json({"type": "health_check"})
        assert (await ws.receive_json(timeout=10))["body"] == {"healthy": True}
    assert "Traceback" not in whisper.log[logged:]
