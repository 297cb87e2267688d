"""The chat server over real HTTP: what it refuses, how it streams, how it breaks on request."""

from __future__ import annotations

import asyncio
import datetime
import io
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jsonschema
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livekit.plugins.baseten_sandbox.engines.dialogue import (
    Cut,
    Failure,
    Finish,
    Reasoning,
    Refusal,
    Silence,
    Text,
    ToolCall,
)
from livekit.plugins.baseten_sandbox.engines.rules import RuleEngine
from livekit.plugins.baseten_sandbox.engines.script import Script
from livekit.plugins.baseten_sandbox.engines.upstream import UpstreamEngine
from livekit.plugins.baseten_sandbox.protocols.chat import ChatServer

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def request(text: str = "Hello", **more: Any) -> dict[str, Any]:
    body = {
        "model": "openai/gpt-oss-120b",
        "messages": [{"role": "user", "content": text}],
        "stream": True,
    }
    return {**body, **more}


@asynccontextmanager
async def serving(server: ChatServer) -> AsyncIterator[str]:
    async def route(http: web.Request) -> web.StreamResponse:
        return await server.handle(http, route=http.match_info["route"])

    app = web.Application(client_max_size=100 * 1024 * 1024)
    app.router.add_route("*", "/v1/{route:.*}", route)
    async with TestServer(app) as running:
        yield str(running.make_url("/v1"))


async def post(base: str, body: Any, **options: Any) -> tuple[int, str]:
    # A file, since aiohttp warns of large bodies that are bytes.
    data = io.BytesIO(json.dumps(body).encode())
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{base}/chat/completions", data=data, **options) as response,
    ):
        return response.status, await response.text()


async def ask(server: ChatServer, body: Any, **options: Any) -> tuple[int, str]:
    async with serving(server) as base:
        return await post(base, body, **options)


def events(stream: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in stream.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def said(stream: str, field: str = "content") -> str:
    deltas = [c["delta"] for event in events(stream) for c in event["choices"]]
    return "".join(delta.get(field) or "" for delta in deltas)


def rules() -> ChatServer:
    return ChatServer(engine=RuleEngine(now=lambda: datetime.datetime(2026, 5, 4, 15, 20)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_completion_tokens": 5},
        {"prompt_cache_key": "a"},
        {"safety_identifier": "a"},
        {"metadata": {"a": "b"}},
        {"store": True},
        {"service_tier": "auto"},
        {"verbosity": "low"},
        {"temperature": 5},
        {"n": 2},
        {"max_tokens": 0},
        {"stop": ["a"] * 33},
        {"reasoning_effort": "huge"},
        {"messages": []},
        {"messages": [{"role": "developer", "content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": "x", "mood": "good"}]},
        {"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]},
        {"tool_choice": "required"},
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "no"}}},
        {"tools": [{**WEATHER, "cache": True}]},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": {}, "strict": False},
            }
        },
        {"model": "zai-org/GLM-5.2", "reasoning_effort": "low"},
        {
            "model": "Qwen/Qwen3.8-27B",
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "system", "content": "y"},
            ],
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}],
                }
            ]
        },
    ],
    ids=lambda wrong: json.dumps(wrong)[:60],
)
async def test_refuses_what_baseten_refuses(wrong: dict[str, Any]) -> None:
    status, body = await ask(rules(), request(**wrong))
    assert status == 400
    assert json.loads(body)["error"]


def pictures(*urls: str) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {
        "model": "moonshotai/Kimi-K2.6",
        "messages": [{"role": "user", "content": parts}],
    }


@pytest.mark.parametrize(
    ("urls", "status"),
    [
        (["https://a/b"] * 96, 200),
        (["https://a/b"] * 97, 400),
        (["http://a/b"], 400),
        (["data:image/png;base64," + "A" * 5 * 1024 * 1024], 400),
    ],
    ids=["most", "too many", "unencrypted", "too large"],
)
async def test_images_are_taken_within_bounds(urls: list[str], status: int) -> None:
    assert (await ask(rules(), request(**pictures(*urls))))[0] == status


async def test_unknown_model_is_not_found() -> None:
    status, body = await ask(rules(), request(model="meta-llama/Llama-4-Scout"))
    assert status == 404
    assert "Llama-4-Scout" in json.loads(body)["error"]


async def test_usage_is_cumulative_on_every_chunk() -> None:
    status, body = await ask(rules(), request("Hello"))
    assert status == 200
    assert said(body).startswith("Hello, it is good")
    counts = [event["usage"]["completion_tokens"] for event in events(body)]
    assert counts == sorted(counts)
    assert counts[-1] == len(counts) - 2
    assert events(body)[-1]["choices"] == []


async def test_usage_is_left_out_when_asked() -> None:
    _, body = await ask(rules(), request(stream_options={"include_usage": False}))
    assert all("usage" not in event for event in events(body))


async def test_reasoning_comes_first_and_can_be_switched_off() -> None:
    async with serving(rules()) as base:
        _, thinking = await post(base, request())
        _, plain = await post(base, request(reasoning_effort="none"))
    assert said(thinking, "reasoning_content")
    assert events(thinking)[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert not said(plain, "reasoning_content")
    assert said(thinking) == said(plain)


async def test_length_ends_an_answer() -> None:
    _, body = await ask(rules(), request(max_tokens=3, reasoning_effort="none"))
    assert said(body) == "Hello, it is"
    assert events(body)[-2]["choices"][0]["finish_reason"] == "length"


async def test_calls_a_tool_for_each_place_then_tells_the_results() -> None:
    async with serving(rules()) as base:
        question = request("What is the weather in Paris and London?", tools=[WEATHER])
        _, stream = await post(base, question)
        _, body = await post(base, {**question, "stream": False})
        calls = json.loads(body)["choices"][0]["message"]["tool_calls"]
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": f"It is {n} °C, 50% humid"}
            for n, call in enumerate(calls, 21)
        ]
        asked = question["messages"] + [
            {"role": "assistant", "content": None, "tool_calls": calls},
            *results,
        ]
        _, answer = await post(base, {**question, "messages": asked})
    assert [json.loads(c["function"]["arguments"])["city"] for c in calls] == ["Paris", "London"]
    assert events(stream)[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert "twenty one degrees Celsius, fifty percent humid" in said(answer)
    assert "twenty two" in said(answer)


@pytest.mark.parametrize(
    ("heard", "arguments"),
    [
        ("Is it going to rain in New York?", {"city": "New York", "days": 1}),
        ("weather for berlin please", {"city": "Berlin", "days": 1}),
        ("The weather in Oslo for five days", {"city": "Oslo", "days": 5}),
    ],
)
async def test_tools_get_their_arguments_from_what_was_heard(heard: str, arguments: Any) -> None:
    tool = json.loads(json.dumps(WEATHER))
    tool["function"]["parameters"]["properties"]["days"] = {"type": "integer"}
    tool["function"]["parameters"]["required"].append("days")
    _, answer = await ask(rules(), request(heard, stream=False, tools=[tool]))
    (call,) = json.loads(answer)["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == arguments


@pytest.mark.parametrize(
    ("choice", "count"),
    [
        ("none", 0),
        ("auto", 0),
        ("required", 1),
        ({"type": "function", "function": {"name": "get_weather"}}, 1),
    ],
)
async def test_tool_choice_is_obeyed(choice: Any, count: int) -> None:
    body = request("Good morning", stream=False, tools=[WEATHER], tool_choice=choice)
    _, answer = await ask(rules(), body)
    message = json.loads(answer)["choices"][0]["message"]
    assert len(message.get("tool_calls", ())) == count


async def test_parallel_calls_can_be_forbidden() -> None:
    body = request("Weather in Paris and London?", stream=False, tools=[WEATHER])
    _, answer = await ask(rules(), {**body, "parallel_tool_calls": False})
    assert len(json.loads(answer)["choices"][0]["message"]["tool_calls"]) == 1


async def test_structured_output_is_valid_against_its_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "mood": {"enum": ["calm", "glad"]},
            "score": {"type": "integer", "minimum": 3, "multipleOf": 2},
            "notes": {"type": "array", "items": {"$ref": "#/$defs/note"}, "minItems": 2},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        },
        "required": ["mood", "score", "notes", "maybe"],
        "additionalProperties": False,
        "$defs": {
            "note": {
                "type": "object",
                "properties": {"text": {"type": "string", "maxLength": 4}},
                "required": ["text"],
            }
        },
    }
    form = {
        "type": "json_schema",
        "json_schema": {"name": "report", "schema": schema, "strict": True},
    }
    _, body = await ask(rules(), request(response_format=form))
    jsonschema.validate(json.loads(said(body)), schema)


async def test_models_are_listed() -> None:
    async with (
        serving(rules()) as base,
        aiohttp.ClientSession() as client,
        client.get(f"{base}/models") as response,
    ):
        slugs = [model["id"] for model in (await response.json())["data"]]
    assert "openai/gpt-oss-120b" in slugs


async def test_cached_tokens_follow_the_conversation() -> None:
    async with serving(rules()) as base:
        first = request()
        second = request()
        second["messages"] = first["messages"] + [
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "How are you?"},
        ]
        cached = []
        for conversation, body in (("a", first), ("a", second), ("b", second)):
            _, answer = await post(base, body, headers={"x-session-affinity": conversation})
            cached.append(events(answer)[-1]["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert cached[0] == cached[2] == 0
    assert cached[1] > 0


async def test_requests_are_recorded_without_the_key() -> None:
    server = rules()
    await ask(server, request(), headers={"Authorization": "Bearer very-secret"})
    (record,) = server.requests
    assert record.outcome == "whole"
    assert record.body["model"] == "openai/gpt-oss-120b"
    assert "very-secret" not in repr(record)


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        ("What time is it?", "It is twenty minutes past three in the afternoon."),
        ("what day is it today", "Today is Monday, day four of May."),
        ("What is seven plus thirty five?", "That makes forty two."),
        ("what is 10 divided by 4", "That makes two point five."),
        ("Who is Mister Darcy?", "I do not know much about mister darcy. What would you"),
        ("he was not an ill disposed young man", "You said that he was not an ill disposed young"),
        ("I am tired of my work", "You said that you are tired of your work."),
        ("Why does the sea taste of salt?", "That is a good question."),
        (
            "I have 25 apples & 3 pears",
            "You said that you have twenty five apples and three pears.",
        ),
        (
            "And so I ask you what I can do for you",
            "You said that you ask me what you can do for me.",
        ),
        (
            "Mister Quilter is the apostle of the middle classes, and we are glad to welcome his gospel.",
            "You said that mister Quilter is the apostle of the middle classes.",
        ),
        ("Yes please.", "All right."),
        ("Thank you very much", "You are welcome."),
        ("...", "I am sorry, I did not catch that."),
    ],
)
async def test_rules_answer_speech_in_plain_words(heard: str, answer: str) -> None:
    _, body = await ask(rules(), request(heard))
    assert said(body).startswith(answer)
    assert not set("0123456789%$&*_") & set(said(body))


async def test_script_plays_statuses_failures_and_finishes() -> None:
    script = Script(
        Refusal(429, {"error": "slow down"}, {"Retry-After": "7"}),
        [Text("So far"), Failure({"error": {"message": "gone", "code": 500}})],
        [ToolCall("f", "{}", "id1"), Finish("length")],
        [Text("half of"), Cut(politely=True)],
    )
    async with serving(ChatServer(engine=script)) as base:
        refused, _ = await post(base, request())
        _, failed = await post(base, request())
        _, odd = await post(base, request())
        _, half = await post(base, request())
    assert refused == 429
    assert failed.endswith('data: {"error": {"message": "gone", "code": 500}}\n\n')
    assert events(odd)[-2]["choices"][0]["finish_reason"] == "length"
    assert "half" in half
    assert "[DONE]" not in half
    assert script.turns_left == 0


async def test_a_rude_cut_breaks_the_body() -> None:
    server = ChatServer(engine=Script([Text("half of"), Cut()]))
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(server, request())
    assert server.requests[0].outcome == "cut"


@pytest.mark.parametrize("before_headers", [True, False])
async def test_silence_lasts_until_the_client_leaves(before_headers: bool) -> None:
    server = ChatServer(engine=Script(Silence(before_headers)))
    async with serving(server) as base:
        with pytest.raises(asyncio.TimeoutError):
            await post(base, request(), timeout=aiohttp.ClientTimeout(total=0.2))
        await server.requests[0].ended.wait()
    assert server.requests[0].outcome == "left"


@pytest.mark.parametrize("field", ["reasoning", "tags", "orphan-tag"])
async def test_reasoning_takes_the_forms_seen_in_the_field(field: Any) -> None:
    from livekit.plugins.baseten_sandbox.protocols.chat_models import ChatModel

    model = ChatModel(slug="a/b", thinking="on", thinking_field=field)
    script = Script([Reasoning("hm hm"), Text("Yes.")])
    _, body = await ask(ChatServer(engine=script, models=[model]), request(model="a/b"))
    if field == "reasoning":
        assert (said(body, "reasoning"), said(body)) == ("hm hm", "Yes.")
    else:
        opening = "<think>" if field == "tags" else ""
        assert said(body) == f"{opening}hm hm</think>\n\nYes."


async def test_upstream_is_passed_through_whole() -> None:
    behind = ChatServer(
        engine=Script(
            [Reasoning("hm"), Text("Good day."), ToolCall("f", '{"a": "long enough"}', "id1")],
            [Text("half of"), Cut()],
            Refusal(429, "busy"),
        )
    )
    async with serving(behind) as upstream:
        engine = UpstreamEngine(upstream, model="openai/gpt-oss-120b")
        front = ChatServer(engine=engine, any_model=True)
        async with serving(front) as base:
            _, body = await post(base, request(model="local", stream=False, tools=[WEATHER]))
            with pytest.raises(aiohttp.ClientPayloadError):
                await post(base, request())
            status, _ = await post(base, request())
        await engine.aclose()
    message = json.loads(body)["choices"][0]["message"]
    assert message["content"] == "Good day."
    assert message["reasoning_content"] == "hm"
    assert message["tool_calls"][0]["function"]["arguments"] == '{"a": "long enough"}'
    assert status == 429


async def test_an_unreachable_upstream_is_a_bad_gateway() -> None:
    with socket.socket() as taken:  # and so by nobody who listens
        taken.bind(("127.0.0.1", 0))
        engine = UpstreamEngine(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        status, _ = await ask(ChatServer(engine=engine), request())
        await engine.aclose()
    assert status == 502
