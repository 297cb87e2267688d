from __future__ import annotations

import json

import aiohttp
import pytest

from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import read

CONFIG = {"voice": "tara", "max_tokens": 4096, "buffer_size": 10}


async def spoken(client: aiohttp.ClientSession, url: str, *frames: str, **config: object) -> str:
    async with client.ws_connect(url) as ws:
        await ws.send_json({**CONFIG, **config})
        for frame in (*frames, "__END__"):
            await ws.send_str(frame)
        audio = b""
        while True:
            message = await ws.receive(timeout=10)
            if message.type is aiohttp.WSMsgType.CLOSE:
                assert message.data == 1000
                break
            assert message.type is aiohttp.WSMsgType.BINARY
            assert len(message.data) == 4096
            audio += message.data
    return " ".join(word.text for word in read(audio, rate=24000))


def words(count: int) -> list[str]:
    return [f"n{i}" for i in range(count)]


async def test_one_word_a_frame_is_spoken_whole(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    said = await spoken(client, sandbox.tts_websocket_endpoint, *words(25))
    assert said.split() == words(25)


async def test_deltas_that_are_parts_of_words_are_spoken_as_words(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    deltas = [" un", "believ", "able", " isn", "'t"]
    said = await spoken(client, sandbox.tts_websocket_endpoint, *deltas)
    assert said == "un believ able isn 't"


async def test_a_sentence_of_25_words_in_one_frame_loses_the_last_five(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    said = await spoken(client, sandbox.tts_websocket_endpoint, " ".join(words(25)))
    assert said.split() == words(20)


async def test_a_short_sentence_before_a_long_one_costs_the_long_one_its_tail(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    text = "Hi there. " + " ".join(words(15))
    said = await spoken(client, sandbox.tts_websocket_endpoint, text)
    assert said.split() == ["Hi", "there.", *words(10)]


async def test_a_buffer_larger_than_the_text_speaks_one_frame_whole(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    text = " ".join(words(25))
    said = await spoken(client, sandbox.tts_websocket_endpoint, text, buffer_size=60)
    assert said.split() == words(25)


@pytest.mark.parametrize("config", ["{", "[]", '{"buffer_size": "many"}'])
async def test_a_broken_config_closes_with_1011(
    sandbox: Sandbox, client: aiohttp.ClientSession, config: str
) -> None:
    async with client.ws_connect(sandbox.tts_websocket_endpoint) as ws:
        await ws.send_str(config)
        assert (await ws.receive(timeout=10)).data == 1011


async def test_http_streams_raw_pcm_under_a_wav_content_type(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.post(sandbox.tts_endpoint, json={"prompt": "hello from here"}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "audio/wav"
        assert answer.headers["X-Baseten-Input-Tokens"] == "15"
        assert answer.headers["X-BASETEN-REQUEST-ID"]
        audio = await answer.read()
    assert [w.text for w in read(audio, rate=24000)] == ["hello", "from", "here"]


async def test_http_without_prompt_is_an_internal_error(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.post(
        sandbox.tts_endpoint, json={"text": "hello", "request_id": "r7"}
    ) as answer:
        assert answer.status == 500
        assert (await answer.text()).endswith("processing your request r7")


async def test_http_with_a_broken_body_is_a_bad_request(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.post(sandbox.tts_endpoint, data="{") as answer:
        assert answer.status == 400
        assert json.loads(await answer.text())["error"].startswith("Invalid JSON payload")
