"""What goes over the wire: only what Baseten accepts, and all that the caller asks for."""

from __future__ import annotations

import base64
import json
from typing import Literal

import pydantic
import pytest

from livekit.agents.llm import (
    ChatContext,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    function_tool,
)
from livekit.plugins.baseten_llm import LLM
from livekit.plugins.baseten_sandbox.engines.rules import RuleEngine

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@function_tool
async def get_weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """Tell the weather in a city.

    Args:
        city: Name of the city.
        unit: Unit of temperature.
    """
    return f"sunny in {city}"


@function_tool(
    raw_schema={
        "name": "look_up",
        "description": "Look something up.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
        "x-internal": "never sent",
    }
)
async def look_up(raw_arguments: dict[str, object]) -> str:
    return "found"


async def sent(serve, ask, *, model="openai/gpt-oss-120b", call=None, chat_ctx=None, **options):
    """Ask once, through a server that refuses what Baseten refuses; return the body sent."""
    served = await serve(engine=RuleEngine())
    llm = served.llm(model=model, **options)
    await llm.chat(chat_ctx=chat_ctx or ask("Hello", system="Be brief."), **(call or {})).collect()
    (body,) = served.bodies
    return body


async def test_a_plain_request_holds_nothing_but_the_needful(serve, ask) -> None:
    assert await sent(serve, ask) == {
        "model": "openai/gpt-oss-120b",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "low",
    }


async def test_sampling_options_are_sent_by_their_names(serve, ask) -> None:
    options = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.1,
        "frequency_penalty": -0.1,
        "seed": 7,
        "stop": ["end"],
        "max_tokens": 200,
        "user": "caller",
        "chat_template_args": {"greeting": True},
    }
    body = await sent(serve, ask, **options)
    assert {name: body[name] for name in options} == options


async def test_max_completion_tokens_goes_out_as_max_tokens(serve, ask) -> None:
    body = await sent(serve, ask, max_completion_tokens=90)
    assert (body["max_tokens"], "max_completion_tokens" in body) == (90, False)
    body = await sent(serve, ask, call={"extra_kwargs": {"max_completion_tokens": 80}})
    assert (body["max_tokens"], "max_completion_tokens" in body) == (80, False)


async def test_a_call_wins_over_the_constructor(serve, ask) -> None:
    extra = {
        "temperature": 0.1,
        "top_k": 3,
        "extra_headers": {"x-b": "call", "x-c": "call"},
        "extra_body": {"min_p": 0.2},
    }
    served = await serve(engine=RuleEngine())
    llm = served.llm(
        temperature=1.0,
        top_k=9,
        extra_headers={"x-a": "own", "x-b": "own"},
        extra_body={"min_p": 0.1, "seed": 4},
        extra_query={"q": "1"},
    )
    await llm.chat(chat_ctx=ask("Hello"), extra_kwargs=extra).collect()
    await llm.chat(chat_ctx=ask("Hello")).collect()
    first, second = served.bodies
    assert (first["temperature"], first["top_k"], first["min_p"], first["seed"]) == (0.1, 3, 0.2, 4)
    assert (second["temperature"], second["top_k"], second["min_p"]) == (1.0, 9, 0.1)
    headers = [{n: r.headers.get(n) for n in ("x-a", "x-b", "x-c")} for r in served.chats]
    assert headers[0] == {"x-a": "own", "x-b": "call", "x-c": "call"}
    assert headers[1] == {"x-a": "own", "x-b": "own", "x-c": None}
    assert "developer" not in json.dumps(served.bodies)


async def test_what_baseten_does_not_name_is_sent_only_when_asked_for(serve, ask) -> None:
    asked = {
        "prompt_cache_key": "a",
        "safety_identifier": "b",
        "metadata": {"c": "d"},
        "store": True,
        "service_tier": "auto",
        "verbosity": "low",
        "prompt_cache_retention": "24h",
    }
    served = await serve("Hello.")
    served.beyond_schema = True
    llm = served.llm(**asked, extra_body={"anything": 1})
    with pytest.raises(Exception, match="Additional properties"):
        await llm.chat(chat_ctx=ask("Hello")).collect()
    (body,) = served.bodies
    assert {name: body[name] for name in asked} == asked
    assert body["anything"] == 1


async def test_developer_messages_become_system_messages(serve, ask) -> None:
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="developer", content="Be brief.")
    chat_ctx.add_message(role="user", content="Hello")
    body = await sent(serve, ask, chat_ctx=chat_ctx)
    assert [m["role"] for m in body["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("model", "option", "folded"),
    [
        ("Qwen/Qwen3.8-27B", None, True),
        ("openai/gpt-oss-120b", None, False),
        ("openai/gpt-oss-120b", True, True),
    ],
)
async def test_late_system_messages_are_folded_where_templates_refuse_them(
    serve, ask, model, option, folded
) -> None:
    chat_ctx = ask("Hello", system="Be brief.")
    chat_ctx.add_message(role="assistant", content="Good evening.")
    chat_ctx.add_message(role="system", content="Say goodbye.")
    before = chat_ctx.to_dict()
    options = {} if option is None else {"inline_mid_conversation_instructions": option}
    body = await sent(serve, ask, model=model, chat_ctx=chat_ctx, **options)
    late = {"role": "system", "content": "Say goodbye."}
    if folded:
        late = {"role": "user", "content": "<instructions>\nSay goodbye.\n</instructions>"}
    assert body["messages"][-1] == late
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert chat_ctx.to_dict() == before


@pytest.mark.parametrize("strict", [True, False])
async def test_tools_go_out_strict_or_not(serve, ask, strict) -> None:
    tools = [get_weather, look_up]
    body = await sent(serve, ask, call={"tools": tools}, strict_tool_schema=strict)
    first, second = (tool["function"] for tool in body["tools"])
    assert first.get("strict", False) is strict
    assert second["name"] == "look_up"
    assert "x-internal" not in second
    assert "tool_choice" not in body


@pytest.mark.parametrize(
    "choice",
    ["none", "auto", "required", {"type": "function", "function": {"name": "get_weather"}}],
)
async def test_tool_choice_and_parallel_calls(serve, ask, choice) -> None:
    call = {"tools": [get_weather], "tool_choice": choice}
    body = await sent(serve, ask, call=call, parallel_tool_calls=False)
    assert (body["tool_choice"], body["parallel_tool_calls"]) == (choice, False)


async def test_without_tools_nothing_is_said_about_them(serve, ask) -> None:
    body = await sent(serve, ask, tool_choice="required", parallel_tool_calls=True)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body.keys()


async def test_a_dialogue_with_parallel_tool_calls(serve, ask) -> None:
    served = await serve(engine=RuleEngine())
    llm = served.llm()
    chat_ctx = ask("What is the weather in Paris and Rome?")
    first = await llm.chat(chat_ctx=chat_ctx, tools=[get_weather]).collect()
    assert [json.loads(c.arguments)["city"] for c in first.tool_calls] == ["Paris", "Rome"]
    for call in first.tool_calls:
        ids = {"call_id": call.call_id, "name": call.name}
        chat_ctx.insert(FunctionCall(**ids, arguments=call.arguments, group_id="group"))
        city = json.loads(call.arguments)["city"]
        chat_ctx.insert(FunctionCallOutput(**ids, output=f"sunny in {city}", is_error=False))
    second = await llm.chat(chat_ctx=chat_ctx, tools=[get_weather]).collect()
    assert "Sunny in Paris. Sunny in Rome." in second.text


async def test_images_reach_a_model_that_sees(serve, ask) -> None:
    chat_ctx = ChatContext()
    images = [
        ImageContent(image="https://example.com/cat.png", inference_detail="low"),
        ImageContent(image=f"data:image/png;base64,{PIXEL}"),
    ]
    chat_ctx.add_message(role="user", content=["What is this?", *images])
    body = await sent(serve, ask, model="moonshotai/Kimi-K2.5", chat_ctx=chat_ctx)
    parts = body["messages"][0]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert urls[0] == "https://example.com/cat.png"
    assert base64.b64decode(urls[1].partition(",")[2]) == base64.b64decode(PIXEL)
    assert parts[-1] == {"type": "text", "text": "What is this?"}


class Report(pydantic.BaseModel):
    class Item(pydantic.BaseModel):
        name: str
        count: int = pydantic.Field(ge=2)

    mood: Literal["calm", "glad"]
    first: Item
    items: list[Item]
    note: str | None = None


async def test_structured_output_fits_the_pydantic_model(serve, ask) -> None:
    served = await serve(engine=RuleEngine())
    llm = served.llm()
    answer = await llm.chat(chat_ctx=ask("Report."), response_format=Report).collect()
    assert Report.model_validate_json(answer.text).first.count == 2


async def test_a_schema_given_as_a_dict_is_made_strict(serve, ask) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    body = await sent(serve, ask, call={"response_format": form})
    assert body["response_format"]["json_schema"]["strict"] is True
    form["json_schema"]["strict"] = False
    with pytest.raises(ValueError, match="strict"):
        LLM(api_key="x").chat(chat_ctx=ask("x"), response_format=form)


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("openai/gpt-oss-120b", {}, {"reasoning_effort": "low"}),
        ("openai/gpt-oss-120b", {"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
        ("openai/gpt-oss-120b", {"enable_thinking": False}, {"reasoning_effort": "none"}),
        ("deepseek-ai/DeepSeek-V4-Pro", {}, {"reasoning_effort": "none"}),
        ("deepseek-ai/DeepSeek-V4-Pro", {"enable_thinking": True}, {"reasoning_effort": "medium"}),
        ("zai-org/GLM-5.2", {}, {"reasoning_effort": "none"}),
        ("zai-org/GLM-5.2", {"reasoning_effort": "medium"}, {"reasoning_effort": "high"}),
        ("zai-org/GLM-5.2", {"reasoning_effort": "low"}, {"reasoning_effort": "none"}),
        ("zai-org/GLM-5.2", {"enable_thinking": True}, {"reasoning_effort": "high"}),
        ("zai-org/GLM-4.7", {}, {}),
        ("moonshotai/Kimi-K2.5", {"enable_thinking": True}, {"enable_thinking": True}),
        ("moonshotai/Kimi-K2.6", {"reasoning_effort": "low"}, {"enable_thinking": True}),
        ("nvidia/Nemotron-120B-A12B", {"reasoning_effort": "none"}, {"enable_thinking": False}),
        ("Qwen/Qwen3.8-27B", {}, {"enable_thinking": False}),
        ("Qwen/Qwen3.8-27B", {"enable_thinking": True}, {"enable_thinking": True}),
    ],
)
async def test_thinking_is_asked_for_in_each_familys_words(
    serve, ask, model, options, expected
) -> None:
    body = await sent(serve, ask, model=model, **options)
    found = {name: body[name] for name in ("reasoning_effort",) if name in body}
    assert {**found, **body.get("chat_template_args", {})} == expected


async def test_thinking_can_be_asked_for_by_the_call(serve, ask) -> None:
    call = {"extra_kwargs": {"enable_thinking": True, "chat_template_args": {"a": 1}}}
    body = await sent(serve, ask, model="moonshotai/Kimi-K2.5", call=call)
    assert body["chat_template_args"] == {"enable_thinking": True, "a": 1}


async def test_chat_template_args_of_the_caller_win(serve, ask) -> None:
    args = {"enable_thinking": True}
    body = await sent(serve, ask, model="Qwen/Qwen3.8-27B", chat_template_args=args)
    assert body["chat_template_args"] == args
    body = await sent(serve, ask, model="Qwen/Qwen3.8-27B", extra_body={"chat_template_args": args})
    assert body["chat_template_args"] == args


@pytest.mark.parametrize("name", ["model", "messages", "stream", "tools"])
async def test_a_call_cannot_replace_the_request_itself(ask, name) -> None:
    llm = LLM(api_key="x")
    with pytest.raises(ValueError, match=name):
        llm.chat(chat_ctx=ask("x"), extra_kwargs={name: "y"})
    await llm.aclose()


async def test_what_cannot_be_sent_is_told_as_it_is(serve) -> None:
    served = await serve(engine=RuleEngine())
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="user", content=[ImageContent(image="data:nonsense")])
    with pytest.raises(ValueError, match=r"unpack|data|image"):
        await served.llm().chat(chat_ctx=chat_ctx).collect()
    assert not served.chats
