"""The constructor: targets, keys, names, and mistakes told at once."""

from __future__ import annotations

import inspect
import logging
import re
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from livekit.plugins import baseten_llm
from livekit.plugins.baseten_llm import LLM
from livekit.plugins.baseten_sandbox.engines.rules import RuleEngine

# What livekit-plugins-baseten 1.8.9 takes.
PEER = [
    "model",
    "api_key",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "tool_choice",
    "reasoning_effort",
    "base_url",
    "client",
    "timeout",
    "inline_mid_conversation_instructions",
]


def url_of(llm: LLM) -> str:
    return str(llm._access.client.base_url)


def test_takes_every_argument_of_the_published_plugin() -> None:
    parameters = inspect.signature(LLM.__init__).parameters
    assert set(PEER) <= set(parameters)
    kinds = {p.kind for name, p in parameters.items() if name != "self"}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://inference.baseten.co/v1/"),
        (
            {"model_id": "abcd1234"},
            "https://model-abcd1234.api.baseten.co/environments/production/sync/v1/",
        ),
        (
            {"chain_id": "abcd1234", "environment": "staging"},
            "https://chain-abcd1234.api.baseten.co/environments/staging/sync/v1/",
        ),
        (
            {"model_id": "abcd1234", "deployment_id": "dep1"},
            "https://model-abcd1234.api.baseten.co/deployment/dep1/sync/v1/",
        ),
        (
            {"model_id": "abcd1234", "development": True},
            "https://model-abcd1234.api.baseten.co/development/sync/v1/",
        ),
        (
            {"model_id": "abcd1234", "environment": "eu", "regional": True},
            "https://model-abcd1234-eu.api.baseten.co/sync/v1/",
        ),
        ({"base_url": "http://127.0.0.1:8000/v1"}, "http://127.0.0.1:8000/v1/"),
        ({"base_url": "https://llm.example.com/v1"}, "https://llm.example.com/v1/"),
    ],
)
def test_targets(options, url) -> None:
    assert url_of(LLM(api_key="x", **options)) == url


def test_targets_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASETEN_API_KEY", "x")
    monkeypatch.setenv("BASETEN_LLM_MODEL_ID", "abcd1234")
    assert "model-abcd1234" in url_of(LLM())
    monkeypatch.setenv("BASETEN_BASE_URL", "https://llm.example.com/v1")
    assert url_of(LLM()) == "https://llm.example.com/v1/"
    assert "model-efgh5678" in url_of(LLM(model_id="efgh5678"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"api_key": " "}, "BASETEN_API_KEY"),
        ({"model": " "}, "model is blank"),
        ({"base_url": ""}, "blank"),
        ({"base_url": "inference.baseten.co/v1"}, "full URL"),
        ({"base_url": "http://inference.baseten.co/v1"}, "unencrypted"),
        ({"base_url": "wss://inference.baseten.co/v1"}, "WebSocket"),
        ({"base_url": "https://inference.baseten.co/v1/chat/completions"}, "ends before"),
        (
            {"base_url": "https://model-abcd1234.api.baseten.co/environments/production/predict"},
            "environments/production/sync/v1",
        ),
        ({"model_id": ""}, "model_id"),
        ({"model_id": "model-abcd"}, "leave out"),
        ({"model_id": "a", "chain_id": "b"}, "not both"),
        ({"model_id": "a", "base_url": "https://b/v1"}, "not both"),
        ({"environment": "staging"}, "need model_id"),
        ({"base_url": "https://b/v1", "environment": "staging"}, "leave out environment="),
        ({"base_url": "https://b/v1", "regional": True}, "leave out regional="),
        ({"client": openai.AsyncClient(api_key="k"), "deployment_id": "d"}, "URL of its own"),
        ({"temperature": 5}, "temperature must be from 0 to 4"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "same limit"),
        ({"stop": ["x"] * 33}, "32"),
        ({"wake": -1}, "wake"),
        ({"reasoning_effort": "lots"}, "none, minimal, low"),
        ({"reasoning_effort": "none", "enable_thinking": True}, "contradict"),
        ({"auth_scheme": "Basic"}, "auth_scheme"),
    ],
)
def test_mistakes_are_told_at_once(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        LLM(**{"api_key": "x", **options})


def test_a_key_is_needed_and_both_ways_to_give_it_are_named() -> None:
    with pytest.raises(ValueError, match=r"api_key=.*BASETEN_API_KEY"):
        LLM()


async def test_with_a_client_no_key_is_needed_and_it_stays_open(serve, ask) -> None:
    served = await serve(engine=RuleEngine())
    client = openai.AsyncClient(
        api_key=served.sandbox.api_key, base_url=served.sandbox.llm_base_url
    )
    llm = served.llm(client=client, api_key=baseten_llm.llm.NOT_GIVEN)
    assert (await llm.chat(chat_ctx=ask("Hello")).collect()).text
    await llm.aclose()
    assert not client.is_closed()
    await client.close()


async def test_aclose_closes_what_it_opened(serve, ask) -> None:
    served = await serve(engine=RuleEngine())
    llm = served.llm()
    await llm.chat(chat_ctx=ask("Hello")).collect()
    await llm.aclose()
    assert llm._access.client.is_closed()
    await llm.aclose()


async def test_a_dedicated_deployment_answers(serve, ask) -> None:
    served = await serve(engine=RuleEngine())
    url = served.sandbox.url("llm1", "sync/v1")
    llm = served.llm(base_url=url)
    assert (await llm.chat(chat_ctx=ask("Hello")).collect()).text
    # Nothing is known about what the model there takes.
    assert served.bodies[0].keys() == {"model", "messages", "stream", "stream_options"}
    assert served.bodies[0]["model"] == llm.model == "llm1"


def test_a_retired_model_warns_with_its_replacement(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        LLM(api_key="x", model="meta-llama/Llama-4-Maverick-17B-128E-Instruct")
        LLM(api_key="x", model="openai/gpt-oss-120b")
        LLM(api_key="x", model="my/own")
    (record,) = caplog.records
    assert "openai/gpt-oss-120b" in record.getMessage()


def test_names() -> None:
    llm = LLM(api_key="x")
    assert (llm.model, llm.provider) == ("openai/gpt-oss-120b", "Baseten")
    assert llm.label == "livekit.plugins.baseten_llm.llm.LLM"


def test_every_public_name_is_documented() -> None:
    assert baseten_llm.LLM.__doc__
    assert baseten_llm.LLMStream.__doc__
    described = inspect.getdoc(LLM.__init__)
    assert described
    for name in inspect.signature(LLM.__init__).parameters:
        assert name == "self" or f"{name}:" in described


def test_import_loads_no_speech_component() -> None:
    code = (
        "import sys, livekit.plugins.baseten_llm;"
        "assert not [m for m in sys.modules if 'baseten_stt' in m or 'baseten_tts' in m]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_readme_lists_every_option() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)
    assert listed == [name for name in inspect.signature(LLM.__init__).parameters if name != "self"]
