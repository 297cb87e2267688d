"""The key goes where the caller says and nowhere else, in the header that it belongs in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from contract.uses import SAID, USES, Use
from livekit.agents import APIConnectOptions, APIStatusError
from livekit.plugins.baseten_llm import LLM
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.script import Script
from livekit.plugins.baseten_stt import STT
from livekit.plugins.baseten_tts import TTS, list_voices, register_voice, remove_voice

KEY = "bt-secret-0123456789"
CONN = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=5.0)


@pytest.fixture
async def sandbox(http_context: None) -> AsyncIterator[Sandbox]:
    chat = Script(SAID, loop=True)
    async with Sandbox(transcriber="tones", synthesizer="tones", chat=chat) as sandbox:
        yield sandbox


@pytest.fixture
async def elsewhere(nothing_leaks: None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """The origin of a server that the caller hasn't named, and what reaches it."""
    reached: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.read(65536))
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", reached
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("use", USES, ids=lambda use: use.name)
async def test_no_redirect_carries_anything_elsewhere(
    use: Use, sandbox: Sandbox, elsewhere: tuple[str, list[bytes]]
) -> None:
    origin, reached = elsewhere
    model = use.make(sandbox)
    for status in (301, 302, 303, 307, 308):
        sandbox.faults.clear()
        moved = Fault(do="status", status=status, headers={"Location": f"{origin}/v1/x"})
        sandbox.faults.add(moved, times=None)
        model.prewarm()
        with pytest.raises(APIStatusError) as caught:
            await asyncio.wait_for(use.run(model, CONN), 20)
        assert caught.value.status_code == status
        assert not caught.value.retryable
    sandbox.faults.clear()
    assert await use.run(model, CONN) == SAID
    await model.aclose()
    assert reached == []


async def test_no_redirect_carries_the_key_elsewhere_from_listings(
    sandbox: Sandbox, elsewhere: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    origin, reached = elsewhere
    moved = Fault(do="status", status=307, headers={"Location": f"{origin}/v1/x"})
    sandbox.faults.add(moved, times=None)
    clip = tmp_path / "voice.wav"
    clip.write_bytes(b"RIFF")
    options: Any = {"model_endpoint": sandbox.qwen_tts_endpoint, "api_key": sandbox.api_key}
    for asking in (
        list_voices(**options),
        register_voice(name="a", ref_audio_path=str(clip), **options),
        remove_voice(name="a", **options),
    ):
        with pytest.raises(APIStatusError):
            await asking
    llm = LLM(api_key=sandbox.api_key, base_url=sandbox.llm_base_url)
    with pytest.raises(APIStatusError):
        await llm.list_models()
    await llm.aclose()
    assert reached == []


BAD_URLS = {
    "line-break": "https://model-abcd1234.api.baseten.co/x\r\nX-Evil: 1",
    "line-feed": "https://model-abcd1234.api.baseten.co/\nX-Evil: 1",
    "tab-in-host": "https://model\t.api.baseten.co/x",
    "nul": "https://model-abcd1234.api.baseten.co/\0",
    "password": "https://user:hunter2@model-abcd1234.api.baseten.co/x",
    "user": "https://user@model-abcd1234.api.baseten.co/x",
    "unencrypted": "http://model-abcd1234.api.baseten.co/x",
    "look-alike-of-loopback": "http://127.0.0.1.example.com/x",
    "credentials-that-look-like-a-host": "http://localhost@example.com/x",
    "another-scheme": "file:///etc/passwd",
    "no-scheme": "//model-abcd1234.api.baseten.co/x",
}
MAKERS: dict[str, Callable[[str], Any]] = {
    "stt": lambda url: STT(api_key=KEY, model_endpoint=url.replace("http", "ws", 1)),
    "stt-batch": lambda url: STT(api_key=KEY, model_id="abcd1234", batch_endpoint=url),
    "tts-http": lambda url: TTS(api_key=KEY, model_endpoint=url),
    "tts-websocket": lambda url: TTS(api_key=KEY, model_endpoint=url.replace("http", "ws", 1)),
    "tts-generic": lambda url: TTS(api_key=KEY, model="generic", model_endpoint=url),
    "llm": lambda url: LLM(api_key=KEY, base_url=url),
    "voices": lambda url: asyncio.run(list_voices(api_key=KEY, model_endpoint=url)),
}


@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS.keys())
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
async def test_a_url_that_smuggles_or_leaks_is_refused(
    make: Callable[[str], Any], url: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        await asyncio.to_thread(make, url)
    assert "hunter2" not in str(caught.value)
    assert KEY not in str(caught.value)


VARIABLES: dict[str, Callable[[], Any]] = {
    "BASETEN_STT_MODEL_ENDPOINT": lambda: STT(api_key=KEY),
    "BASETEN_TTS_MODEL_ENDPOINT": lambda: TTS(api_key=KEY),
    "BASETEN_MODEL_ENDPOINT": lambda: TTS(api_key=KEY),
    "BASETEN_BASE_URL": lambda: LLM(api_key=KEY),
}


# A variable can't hold NUL.
@pytest.mark.parametrize("kind", [kind for kind in BAD_URLS if kind != "nul"])
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_url_of_the_environment_is_held_to_the_same(
    variable: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, BAD_URLS[kind])
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        VARIABLES[variable]()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["model_id", "chain_id", "environment", "deployment_id"])
@pytest.mark.parametrize("value", ["a\r\nX: 1", "a/../b", "a.evil.test/", "a?b", "a#b", "a@b"])
@pytest.mark.parametrize("component", [STT, TTS, LLM])
def test_a_name_that_would_change_the_url_is_refused(component: Any, name: str, value: str) -> None:
    names = {name: value} if name.endswith("l_id") or name == "chain_id" else {"model_id": "abcd1"}
    with pytest.raises(ValueError):  # noqa: PT011
        component(api_key=KEY, **{**names, name: value})


@pytest.mark.parametrize("key", ["", " ", "a\r\nX-Evil: 1", "a b", "clé", "a\0"])
@pytest.mark.parametrize("make", [STT, TTS, LLM])
def test_a_key_that_would_change_the_header_is_refused(make: Any, key: str) -> None:
    with pytest.raises(ValueError, match="API key") as caught:
        make(model_id="abcd1234", api_key=key)
    assert "Evil" not in str(caught.value)
