"""Reasoning that only its end shows isn't spoken, not even in the first answer of any model."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as httpx
import openai
import pytest
from aiohttp import web
from pydantic import BaseModel

from livekit.agents import APIConnectOptions, APIError
from livekit.agents.llm import ChatContext, function_tool
from livekit.plugins.baseten_llm import LLM
from livekit.plugins.baseten_llm.beginnings import Beginning
from livekit.plugins.baseten_sandbox.engines.dialogue import (
    Cut,
    Finish,
    Hold,
    Reasoning,
    Silence,
    Text,
    ToolCall,
)

TWICE = APIConnectOptions(max_retry=1, retry_interval=0.01, timeout=10)
THOUGHT, ANSWER = "the user wants me to", "Good evening to you."
ORPHAN = [Text(THOUGHT), Text("</thi"), Text(f"nk>\n\n{ANSWER}")]
FORMS = {
    "plain": [Text(ANSWER)],
    "orphan-tag": ORPHAN,
    "tags": [Text(f"\n<think>{THOUGHT}</think>\n\n{ANSWER}")],
    "field": [Reasoning(THOUGHT), Text(ANSWER)],
}


class City(BaseModel):
    name: str


@function_tool
async def look() -> str:
    """Look out of the window."""
    return "rain"


def dedicated(served: Any, **options: Any) -> LLM:
    llm: LLM = served.llm(base_url=served.sandbox.url("llm1", "sync/v1"), **options)
    return llm


async def told(llm: LLM, chat_ctx: ChatContext, **options: Any) -> str:
    return (await llm.chat(chat_ctx=chat_ctx, **options).collect()).text


async def told_at_once(llm: LLM, chat_ctx: ChatContext) -> str:
    """What is spoken of an answer that doesn't end."""
    heard = ""
    async with llm.chat(chat_ctx=chat_ctx) as stream:
        async for chunk in stream:
            heard += (chunk.delta and chunk.delta.content) or ""
            if heard.strip() == ANSWER:
                break
    return heard.strip()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model", [None, "my/own", "zai-org/GLM-4.7", "Qwen/Qwen3-8B"])
async def test_every_answer_of_a_model_is_free_of_reasoning(serve, ask, model, form) -> None:
    served = await serve(FORMS[form], loop=True)
    llm = dedicated(served, **({"model": model} if model else {}))
    for _ in range(2):
        assert await told(llm, ask("x")) == ANSWER


@pytest.mark.parametrize("form", ["plain", "tags", "field"])
async def test_what_one_answer_shows_holds_for_all_llms(serve, ask, form) -> None:
    served = await serve(FORMS[form], [Text(ANSWER), Silence()])
    assert await told(dedicated(served), ask("x")) == ANSWER
    assert await told_at_once(dedicated(served, temperature=0.5), ask("x")) == ANSWER


@pytest.mark.parametrize("form", ["tags", "field"])
async def test_an_answer_that_shows_its_reasoning_is_not_held_back(serve, ask, form) -> None:
    served = await serve([*FORMS[form], Silence()])
    assert await told_at_once(dedicated(served), ask("x")) == ANSWER


async def test_only_the_first_answer_is_held_back_and_the_log_tells_once(
    serve, ask, caplog
) -> None:
    served = await serve(ANSWER, loop=True)
    with caplog.at_level(logging.INFO, logger="livekit.plugins.baseten"):
        for _ in range(2):
            assert await told(dedicated(served, model="my/own"), ask("x")) == ANSWER
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "my/own" in record.getMessage()
    assert "starts_thinking=False" in record.getMessage()
    assert "Good" not in record.getMessage()


async def test_held_words_of_a_broken_answer_are_not_spoken(serve, ask) -> None:
    served = await serve([Text(THOUGHT), Cut()], ORPHAN)
    assert await told(dedicated(served), ask("x"), conn_options=TWICE) == ANSWER
    assert len(served.chats) == 2


async def test_an_interrupted_answer_teaches_nothing(serve, ask) -> None:
    served = await serve([Text(THOUGHT), Silence()], ORPHAN)
    llm = dedicated(served)
    async with llm.chat(chat_ctx=ask("x")):
        await served.sandbox.wait_for(lambda: served.chats and served.chats[0].passed["sent"])
    assert await told(llm, ask("x")) == ANSWER


async def test_words_before_a_tool_call_may_be_reasoning(serve, ask) -> None:
    call = ToolCall("look", "{}", "id1")
    served = await serve([Text(THOUGHT), call], ORPHAN, [Text(THOUGHT), call], "Well.")
    llm = dedicated(served)
    answer = await llm.chat(chat_ctx=ask("x"), tools=[look]).collect()
    assert (answer.text, [c.call_id for c in answer.tool_calls]) == ("", ["id1"])
    assert await told(llm, ask("x"), tools=[look]) == ANSWER
    answer = await llm.chat(chat_ctx=ask("x"), tools=[look]).collect()
    assert (answer.text, len(answer.tool_calls)) == ("", 1)


async def test_words_before_a_tool_call_are_spoken_by_a_model_that_is_known(serve, ask) -> None:
    served = await serve("Well.", [Text("One moment."), ToolCall("look", "{}")])
    llm = dedicated(served)
    assert await told(llm, ask("x"), tools=[look]) == "Well."
    answer = await llm.chat(chat_ctx=ask("x"), tools=[look]).collect()
    assert (answer.text, len(answer.tool_calls)) == ("One moment.", 1)


async def test_an_answer_cut_by_the_token_limit_may_be_reasoning(serve, ask) -> None:
    served = await serve([Text(THOUGHT), Finish("length")], loop=True)
    with pytest.raises(APIError, match="starts_thinking=False") as caught:
        await told(dedicated(served), ask("x"))
    assert not caught.value.retryable
    assert await told(dedicated(served, starts_thinking=False), ask("x")) == THOUGHT


async def test_answers_at_the_same_time_are_each_held_back(serve, ask) -> None:
    go_on = asyncio.Event()
    turn = [Text(THOUGHT), Hold(go_on), Text(f"</think>{ANSWER}")]
    served = await serve(turn, turn, "Plain.")
    llm = dedicated(served)
    answers = [asyncio.create_task(told(llm, ask("x"))) for _ in range(2)]
    await served.sandbox.wait_for(lambda: len(served.chats) == 2)
    assert await told(llm, ask("x")) == "Plain."
    go_on.set()
    assert await asyncio.gather(*answers) == [ANSWER, ANSWER]


async def test_a_plain_answer_says_nothing_against_reasoning_that_showed_meanwhile(
    serve, ask
) -> None:
    go_on = asyncio.Event()
    served = await serve([Text(ANSWER), Hold(go_on)], ORPHAN, ORPHAN)
    llm = dedicated(served)
    first = asyncio.create_task(told(llm, ask("x")))
    await served.sandbox.wait_for(lambda: len(served.chats) == 1)
    assert await told(llm, ask("x")) == ANSWER
    go_on.set()
    assert await first == ANSWER
    assert await told(llm, ask("x")) == ANSWER


async def test_a_model_that_changes_behind_its_name_is_learnt_anew(serve, ask, caplog) -> None:
    held = [ANSWER, ANSWER]
    served = await serve(ANSWER, ORPHAN, ORPHAN, *held, [Text(ANSWER), Silence()])
    llm = dedicated(served)
    assert await told(llm, ask("x")) == ANSWER
    with caplog.at_level(logging.WARNING):
        await told(llm, ask("x"))
    assert "starts_thinking=True" in caplog.text
    assert await told(llm, ask("x")) == ANSWER
    for _ in held:
        assert await told(llm, ask("x")) == ANSWER
    assert await told_at_once(llm, ask("x")) == ANSWER


async def test_one_plain_answer_does_not_outweigh_reasoning(serve, ask) -> None:
    served = await serve(ORPHAN, ANSWER, ORPHAN)
    for _ in range(3):
        assert await told(dedicated(served), ask("x")) == ANSWER


async def test_the_argument_tells_in_advance(serve, ask, caplog) -> None:
    served = await serve([Text(ANSWER), Silence()], ORPHAN, ANSWER, ORPHAN)
    with caplog.at_level(logging.INFO, logger="livekit.plugins.baseten"):
        assert await told_at_once(dedicated(served, starts_thinking=False), ask("x")) == ANSWER
        for _ in range(3):
            assert await told(dedicated(served, starts_thinking=True), ask("x")) == ANSWER
    assert not caplog.records


async def test_a_wrong_argument_is_wrong_only_once(serve, ask, caplog) -> None:
    served = await serve(ORPHAN, loop=True)
    llm = dedicated(served, starts_thinking=False)
    with caplog.at_level(logging.WARNING):
        await told(llm, ask("x"))
    assert "starts_thinking=True" in caplog.text
    assert await told(llm, ask("x")) == ANSWER


async def test_another_way_to_ask_is_learnt_apart(serve, ask) -> None:
    served = await serve(ANSWER, ORPHAN, '{"name": "Rome"}', ORPHAN)
    llm = dedicated(served)
    # Chat templates look for these words.
    assert await told(llm, ask("x", system="Be kind. /no_think")) == ANSWER
    assert await told(llm, ask("x", system="Be kind. /think")) == ANSWER
    # A server that holds an answer to a schema doesn't let the model reason before it.
    assert "Rome" in await told(llm, ask("x"), response_format=City)
    assert await told(llm, ask("x")) == ANSWER


@asynccontextmanager
async def listing(served: Any, cards: Any) -> AsyncIterator[str]:
    """The sandbox's deployment, as a server that lists what it has loaded."""

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": cards})

    async def chat(request: web.Request) -> web.StreamResponse:
        url = served.sandbox.url("llm1", "sync/v1/chat/completions")
        headers = {"Authorization": request.headers["Authorization"]}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async with (
            httpx.AsyncClient() as client,
            client.stream("POST", url, content=await request.read(), headers=headers) as answer,
        ):
            async for data in answer.aiter_bytes():
                await response.write(data)
        return response

    app = web.Application()
    app.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", chat)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def prewarmed(llm: LLM) -> LLM:
    llm.prewarm()
    await llm._prewarm_task
    return llm


@pytest.mark.parametrize(
    "cards",
    [
        [{"id": "mine", "root": "/models/meta-llama/Llama-3.1-8B-Instruct"}],
        [{"id": "google/gemma-3-12b-it"}],
        [{"id": "mine", "root": "google/gemma-3-12b-it"}, {"id": "other", "root": "QwQ-32B"}],
    ],
)
async def test_a_family_that_never_thinks_is_known_from_what_the_server_lists(
    serve, ask, cards
) -> None:
    served = await serve([Text(ANSWER), Silence()])
    async with listing(served, cards) as url:
        llm = await prewarmed(served.llm(base_url=url, model="mine"))
        assert await told_at_once(llm, ask("x")) == ANSWER
        await llm.aclose()


async def test_a_family_that_thinks_is_known_from_what_the_server_lists(serve, ask, caplog) -> None:
    served = await serve(ANSWER, ORPHAN)
    cards = [{"id": "mine", "root": "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"}]
    async with listing(served, cards) as url:
        llm = await prewarmed(served.llm(base_url=url, model="mine"))
        with caplog.at_level(logging.INFO, logger="livekit.plugins.baseten"):
            for _ in range(2):
                assert await told(llm, ask("x")) == ANSWER
        await llm.aclose()
    assert not caplog.records


@pytest.mark.parametrize("cards", [None, [], [{"id": 5}], [{"root": "x"}], "sorry"])
async def test_a_list_that_tells_nothing_is_passed_over(serve, ask, cards) -> None:
    served = await serve(ORPHAN)
    async with listing(served, cards) as url:
        llm = await prewarmed(served.llm(base_url=url, model="mine"))
        assert await told(llm, ask("x")) == ANSWER
        await llm.aclose()


class Redirected(httpx.AsyncHTTPTransport):
    """Sends to the sandbox what is meant for Baseten."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return await super().handle_async_request(request)


async def test_the_model_apis_keep_reasoning_apart_for_every_model(serve, ask) -> None:
    served = await serve([Text(ANSWER), Silence()])
    port = httpx.URL(served.sandbox.llm_base_url).port
    client = openai.AsyncClient(
        api_key=served.sandbox.api_key,
        base_url="https://inference.baseten.co/v1",
        http_client=httpx.AsyncClient(transport=Redirected(port)),
    )
    llm = served.llm(client=client, model="zai-org/GLM-4.7")
    assert await told_at_once(llm, ask("x")) == ANSWER
    await client.close()


def test_what_is_learnt_is_bounded() -> None:
    body = {"model": "my/own", "messages": []}

    def beginning(number: int) -> Beginning:
        return Beginning(base_url=f"http://{number}", body=body, presumed=None)

    for number in range(2000):
        beginning(number).learn(False, was_held=False)
    assert not beginning(1999).may_be_inside
    assert beginning(0).may_be_inside
