"""How an answer arrives, over real HTTP: whole, with tools, cut off, refused, silent, late."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import httpx2 as httpx
import pytest

from livekit.agents import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
)
from livekit.agents.llm import function_tool
from livekit.plugins.baseten_sandbox.engines.dialogue import (
    Cut,
    Failure,
    Finish,
    Hold,
    Raw,
    Reasoning,
    Refusal,
    Silence,
    Text,
    ToolCall,
)
from livekit.plugins.baseten_sandbox.engines.rules import RuleEngine

ONCE = APIConnectOptions(max_retry=0, timeout=10)
TWICE = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=10)


@function_tool
async def get_weather(city: str) -> str:
    """Tell the weather in a city.

    Args:
        city: Name of the city.
    """
    return f"sunny in {city}"


def event(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "x", "choices": [choice], **more}).encode() + b"\n\n"


async def test_an_answer_comes_token_by_token(serve, ask) -> None:
    served = await serve("Good evening to you.")
    async with served.llm().chat(chat_ctx=ask("Hello")) as stream:
        pieces = [c.delta.content async for c in stream if c.delta]
    assert pieces == ["Good", " evening", " to", " you."]


async def test_cumulative_usage_is_counted_once(serve, ask) -> None:
    served = await serve([Reasoning("hm hm"), Text("Good evening.")])
    llm = served.llm()
    metrics = []
    llm.on("metrics_collected", metrics.append)
    async with llm.chat(chat_ctx=ask("Hello")) as stream:
        usages = [c.usage async for c in stream if c.usage]
    assert [u.completion_tokens for u in usages] == [4]
    assert usages[0].reasoning_tokens == 2
    assert usages[0].total_tokens == usages[0].prompt_tokens + 4
    assert [m.completion_tokens for m in metrics] == [4]
    assert metrics[0].metadata.model_provider == "Baseten"


async def test_usage_of_an_interrupted_answer_is_counted(serve, ask) -> None:
    served = await serve([Text("One two three"), Silence()])
    llm = served.llm()
    metrics = []
    llm.on("metrics_collected", metrics.append)
    async with llm.chat(chat_ctx=ask("Hello")) as stream:
        async for chunk in stream:
            if chunk.delta and "three" in chunk.delta.content:
                break
    assert [(m.cancelled, m.completion_tokens) for m in metrics] == [(True, 3)]
    await served.sandbox.wait_for(lambda: served.chats[0].closed)


@pytest.mark.parametrize("finish", ["tool_calls", "stop", "length", "function_call", None])
async def test_tool_calls_are_delivered_whatever_the_finish(serve, ask, finish) -> None:
    served = await serve(
        [
            Text("One moment."),
            ToolCall("get_weather", '{"city": "Paris"}', "id1"),
            ToolCall("get_weather", '{"city": "Rome"}', "id2"),
            Finish(finish),
        ]
    )
    answer = await served.llm().chat(chat_ctx=ask("Weather?"), tools=[get_weather]).collect()
    assert answer.text == "One moment."
    assert [(c.call_id, c.arguments) for c in answer.tool_calls] == [
        ("id1", '{"city": "Paris"}'),
        ("id2", '{"city": "Rome"}'),
    ]


@pytest.mark.parametrize(
    "parts",
    [
        # Whole calls at once; all numbered 0; without ids or arguments; arguments as an object.
        [[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}, {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}]],
        [[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}], [{"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}}]],
        [[{"index": 0, "function": {"name": "f"}}], [{"index": 1, "function": {"name": "g", "arguments": None}}]],
        [[{"index": 0, "id": "a", "function": {"name": "f", "arguments": {}}}], [{"index": 1, "id": "b", "function": {"name": "g"}}]],
    ],
)  # fmt: skip
async def test_tool_calls_are_understood_in_the_shapes_servers_send(serve, ask, parts) -> None:
    body = b"".join(event({"tool_calls": part}) for part in parts) + event({}, "tool_calls")
    served = await serve([Raw(body + b"data: [DONE]\n\n")])
    answer = await served.llm().chat(chat_ctx=ask("x"), tools=[get_weather]).collect()
    assert [(c.name, c.arguments) for c in answer.tool_calls] == [("f", "{}"), ("g", "{}")]
    assert len({c.call_id for c in answer.tool_calls}) == 2
    assert all(c.call_id for c in answer.tool_calls)


async def test_a_tool_call_cut_by_the_token_limit_is_an_error(serve, ask) -> None:
    body = event(
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"c'}}]}
    )
    served = await serve([Raw(body + event({}, "length") + b"data: [DONE]\n\n")])
    with pytest.raises(APIError, match="raise max_tokens") as caught:
        await served.llm().chat(chat_ctx=ask("x"), tools=[get_weather]).collect()
    assert not caught.value.retryable


async def test_a_limit_reached_while_thinking_is_an_error(serve, ask) -> None:
    served = await serve([Reasoning("hm hm hm"), Finish("length")])
    with pytest.raises(APIError, match="lower reasoning_effort"):
        await served.llm().chat(chat_ctx=ask("x")).collect()
    assert len(served.chats) == 1


@pytest.mark.parametrize("politely", [True, False])
async def test_an_answer_cut_before_its_first_word_is_asked_again(serve, ask, politely) -> None:
    served = await serve([Reasoning("hm"), Cut(politely)], "Good evening.")
    answer = await served.llm().chat(chat_ctx=ask("x"), conn_options=TWICE).collect()
    assert answer.text == "Good evening."
    assert len(served.chats) == 2


@pytest.mark.parametrize("politely", [True, False])
async def test_an_answer_cut_after_its_first_word_is_an_error(serve, ask, politely) -> None:
    served = await serve([Text("Good"), Cut(politely)], "Good evening.")
    llm = served.llm()
    errors = []
    llm.on("error", errors.append)
    with pytest.raises(APIConnectionError):
        await llm.chat(chat_ctx=ask("x")).collect()
    assert [e.recoverable for e in errors] == [False]
    assert len(served.chats) == 1


async def test_an_answer_ends_at_its_finish_even_if_the_server_never_says_done(serve, ask) -> None:
    served = await serve([Raw(event({"content": "Good evening."}) + event({}, "stop")), Silence()])
    answer = await served.llm().chat(chat_ctx=ask("x"), conn_options=ONCE).collect()
    assert answer.text == "Good evening."


@pytest.mark.parametrize("garbage", [b"data: {not json}\n\n", b'{"choices": [\n\n', b"<p>sorry\n"])
async def test_garbage_in_the_stream_is_an_error(serve, ask, garbage: bytes) -> None:
    served = await serve([Raw(b": hello\nid: 1\nretry: 5\n\n" + garbage)], "Good evening.")
    answer = await served.llm().chat(chat_ctx=ask("x"), conn_options=TWICE).collect()
    assert answer.text == "Good evening."
    assert len(served.chats) == 2


@pytest.mark.parametrize(
    ("frame", "tries"),
    [
        ({"error": {"message": "too long", "type": "BadRequestError", "code": 400}}, 1),
        ({"error": {"message": "no such model", "code": 404}}, 1),
        ({"error": "invalid request"}, 1),
        ({"object": "error", "message": "bad", "code": 422}, 1),
        ({"error": {"message": "worker lost", "code": 500}}, 2),
        ({"error": {"message": "slow down", "code": 429}}, 2),
        ({"error": "the replica is overloaded"}, 2),
    ],
)
async def test_permanent_errors_in_the_stream_are_not_retried(serve, ask, frame, tries) -> None:
    served = await serve([Reasoning("hm"), Failure(frame)], loop=True)
    with pytest.raises(APIError) as caught:
        await served.llm().chat(chat_ctx=ask("x"), conn_options=TWICE).collect()
    assert len(served.chats) == tries
    text = str(caught.value.__cause__ or caught.value)
    words = frame["error"] if "error" in frame else frame["message"]
    assert (words["message"] if isinstance(words, dict) else words) in text


@pytest.mark.parametrize(
    ("status", "tries"),
    [
        *((status, 1) for status in (307, 400, 401, 402, 403, 404, 413, 422)),
        *((status, 2) for status in (408, 429, 500, 502, 503, 504)),
    ],
)
async def test_every_status_is_an_error_of_its_own(serve, ask, status, tries) -> None:
    headers = {"Location": "http://127.0.0.1:1/"} if status == 307 else {}
    served = await serve(Refusal(status, {"error": "some words"}, headers), loop=True)
    with pytest.raises(APIError) as caught:
        await served.llm().chat(chat_ctx=ask("x"), conn_options=TWICE).collect()
    error = caught.value if tries == 1 else caught.value.__cause__
    assert isinstance(error, APIStatusError)
    assert error.status_code == status
    assert error.request_id
    assert "some words" in str(error) or status == 404
    assert len(served.chats) == tries


async def test_a_499_does_not_end_in_silence(serve, ask) -> None:
    served = await serve(Refusal(499, "gone"))
    with pytest.raises(APIError):
        await served.llm().chat(chat_ctx=ask("x"), conn_options=ONCE).collect()


async def test_an_unknown_model_is_explained(serve, ask) -> None:
    served = await serve(engine=RuleEngine())
    llm = served.llm(model="some/thing")
    with pytest.raises(APIStatusError, match="retired, or not enabled") as caught:
        await llm.chat(chat_ctx=ask("x")).collect()
    assert "list_models()" in str(caught.value)
    assert "openai/gpt-oss-120b" in await llm.list_models()


async def test_retry_after_is_waited_for(serve, ask) -> None:
    served = await serve(Refusal(429, "busy", {"Retry-After": "0.6"}), "Good evening.")
    start = time.monotonic()
    answer = await served.llm().chat(chat_ctx=ask("x"), conn_options=TWICE).collect()
    assert answer.text == "Good evening."
    assert time.monotonic() - start >= 0.6


async def test_a_retry_after_beyond_the_timeout_is_not_waited_for(serve, ask) -> None:
    served = await serve(Refusal(429, "busy", {"Retry-After": "60"}))
    with pytest.raises(APIStatusError) as caught:
        await served.llm().chat(chat_ctx=ask("x")).collect()
    assert not caught.value.retryable
    assert len(served.chats) == 1


@pytest.mark.parametrize("before_headers", [True, False])
@pytest.mark.parametrize("option", ["constructor", "float", "conn_options"])
async def test_silence_ends_at_the_timeout(serve, ask, before_headers, option) -> None:
    served = await serve([Silence(before_headers)])
    timeout = {"constructor": httpx.Timeout(0.2), "float": 0.2, "conn_options": None}[option]
    options = APIConnectOptions(max_retry=0, timeout=0.2 if timeout is None else 30)
    with pytest.raises(APITimeoutError):
        await served.llm(timeout=timeout).chat(chat_ctx=ask("x"), conn_options=options).collect()


async def test_comments_are_no_progress(serve, ask) -> None:
    served = await serve([Text("Good"), *[Raw(b": still here\n\n")] * 10, Silence()])
    options = APIConnectOptions(max_retry=0, timeout=1.0)
    with pytest.raises(APITimeoutError) as caught:
        await served.llm().chat(chat_ctx=ask("x"), conn_options=options).collect()
    assert not caught.value.retryable


async def test_a_long_constructor_timeout_outlasts_conn_options(serve, ask) -> None:
    go_on = asyncio.Event()
    served = await serve([Text("Good"), Hold(go_on), Text(" evening.")])
    llm = served.llm(timeout=30.0)
    stream = llm.chat(chat_ctx=ask("x"), conn_options=APIConnectOptions(max_retry=0, timeout=0.05))
    asyncio.get_running_loop().call_later(0.3, go_on.set)
    assert (await stream.collect()).text == "Good evening."


async def test_a_refused_connection_is_an_api_error(serve, ask) -> None:
    served = await serve("x")
    with socket.socket() as taken:  # and so by nobody who listens
        taken.bind(("127.0.0.1", 0))
        llm = served.llm(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        with pytest.raises(APIConnectionError):
            await llm.chat(chat_ctx=ask("x"), conn_options=ONCE).collect()


async def test_walking_away_frees_the_connection_and_the_next_answer_works(serve, ask) -> None:
    served = await serve([Text("One"), Silence()], "Two.")
    llm = served.llm()
    async with llm.chat(chat_ctx=ask("x")) as stream:
        async for _ in stream:
            break
    await served.sandbox.wait_for(lambda: served.chats[0].closed)
    assert (await llm.chat(chat_ctx=ask("y")).collect()).text == "Two."


async def test_an_error_with_status_200_is_told(serve, ask) -> None:
    served = await serve(Refusal(200, {"error": "invalid input: too many words"}))
    with pytest.raises(APIError, match="too many words"):
        await served.llm().chat(chat_ctx=ask("x"), conn_options=ONCE).collect()


async def test_a_server_that_does_not_stream_is_understood(serve, ask) -> None:
    function = {"name": "get_weather", "arguments": '{"city": "Rome"}'}
    message = {
        "role": "assistant",
        "content": "One moment.",
        "tool_calls": [{"id": "id1", "type": "function", "function": function}],
    }
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    body = {"id": "x", "choices": [choice], "usage": usage}
    served = await serve(Refusal(200, body))
    answer = await served.llm().chat(chat_ctx=ask("x"), tools=[get_weather]).collect()
    assert (answer.text, answer.tool_calls[0].call_id) == ("One moment.", "id1")
    assert answer.usage.total_tokens == 7


async def test_a_page_in_place_of_an_answer_is_an_error(serve, ask) -> None:
    served = await serve(Refusal(200, "<html>Welcome</html>", {"Content-Type": "text/html"}))
    with pytest.raises(APIConnectionError):
        await served.llm().chat(chat_ctx=ask("x"), conn_options=ONCE).collect()


@pytest.mark.parametrize("reason", ["abort", "error"])
async def test_an_answer_given_up_by_the_server_is_an_error(serve, ask, reason) -> None:
    body = event({"content": "Good"}) + event({}, reason) + b"data: [DONE]\n\n"
    served = await serve([Raw(body)])
    with pytest.raises(APIConnectionError) as caught:
        await served.llm().chat(chat_ctx=ask("x"), conn_options=TWICE).collect()
    assert not caught.value.retryable


async def test_an_error_event_is_told_by_its_name(serve, ask) -> None:
    served = await serve([Raw(b'event: error\ndata: {"detail": "unsupported input"}\n\n')])
    with pytest.raises(APIError, match="unsupported input"):
        await served.llm().chat(chat_ctx=ask("x"), conn_options=ONCE).collect()


async def test_closing_the_llm_ends_a_running_answer_with_an_error(serve, ask) -> None:
    served = await serve([Text("Good"), Silence()])
    llm = served.llm()
    stream = llm.chat(chat_ctx=ask("x"), conn_options=ONCE)
    assert (await stream.__anext__()).delta.content == "Good"
    await llm.aclose()
    with pytest.raises(APIError):
        await stream.collect()


async def test_an_end_without_a_beginning_is_an_error(serve, ask) -> None:
    served = await serve([Raw(b"data: [DONE]\n\n")], "Good evening.")
    answer = await served.llm().chat(chat_ctx=ask("x"), conn_options=TWICE).collect()
    assert answer.text == "Good evening."


@pytest.mark.parametrize("finish", [b'"finish_reason": null', b'"finish_reason": ""'])
async def test_done_is_a_finish_too(serve, ask, finish) -> None:
    body = event({"content": "Good evening."}).replace(b'"finish_reason": null', finish)
    served = await serve([Raw(body + b"data: [DONE]\n\n")])
    answer = await served.llm().chat(chat_ctx=ask("x"), conn_options=ONCE).collect()
    assert answer.text == "Good evening."
