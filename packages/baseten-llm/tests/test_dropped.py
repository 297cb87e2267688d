"""What is dropped without being closed leaves no connection open."""

from __future__ import annotations

import asyncio
import gc
import weakref

import openai
import pytest

from livekit.plugins.baseten_llm import LLM
from livekit.plugins.baseten_sandbox.engines.dialogue import Hold, Text
from livekit.plugins.baseten_sandbox.engines.rules import RuleEngine

from .test_cold_start import counted


async def closed(connections: list[asyncio.StreamWriter]) -> bool:
    for _ in range(500):  # what the loop had under way still holds it for a turn or two
        gc.collect()
        if all(connection.is_closing() for connection in connections):
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize("use", ["chat", "prewarm", "list_models"])
async def test_a_dropped_llm_closes_its_connections(serve, ask, use) -> None:
    served = await serve(engine=RuleEngine())
    async with counted(served.sandbox.llm_base_url) as (base_url, connections):
        llm = LLM(api_key=served.sandbox.api_key, base_url=base_url)
        if use == "chat":
            await llm.chat(chat_ctx=ask("Hello")).collect()
        elif use == "prewarm":
            llm.prewarm()
            await llm._prewarm_task
        else:
            await llm.list_models()
        assert len(connections) == 1
        assert not connections[0].is_closing()
        ref = weakref.ref(llm)
        del llm
        assert await closed(connections)
        assert ref() is None


async def test_a_dropped_answer_ends_by_itself_and_frees_its_llm(serve, ask) -> None:
    go_on = asyncio.Event()
    served = await serve([Text("Good"), Hold(go_on), Text(" evening.")])
    async with counted(served.sandbox.llm_base_url) as (base_url, connections):
        stream = LLM(api_key=served.sandbox.api_key, base_url=base_url).chat(chat_ctx=ask("x"))
        assert (await stream.__anext__()).delta.content == "Good"
        del stream
        gc.collect()
        go_on.set()
        assert await closed(connections)


async def test_a_client_of_the_callers_own_is_left_open(serve, ask) -> None:
    served = await serve(engine=RuleEngine())
    async with counted(served.sandbox.llm_base_url) as (base_url, connections):
        client = openai.AsyncClient(api_key=served.sandbox.api_key, base_url=base_url)
        llm = LLM(client=client)
        await llm.chat(chat_ctx=ask("Hello")).collect()
        del llm
        gc.collect()
        await client.models.list()
        assert [connection.is_closing() for connection in connections] == [False]
        await client.close()


def test_a_dropped_llm_whose_loop_is_over_troubles_nobody() -> None:
    async def use() -> LLM:
        llm = LLM(api_key="k", base_url="http://127.0.0.1:1/v1")
        llm.prewarm()
        await llm._prewarm_task
        return llm

    llm = asyncio.run(use())
    del llm
    gc.collect()
