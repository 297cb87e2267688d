"""A dedicated deployment that isn't up yet, and connections opened ahead."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from livekit.agents import APIConnectOptions, APIError, APITimeoutError
from livekit.plugins.baseten_llm import cold_start
from livekit.plugins.baseten_sandbox.engines.dialogue import Refusal
from livekit.plugins.baseten_sandbox.engines.rules import RuleEngine

SHORT = APIConnectOptions(max_retry=0, timeout=0.3)


def put_to_sleep(served, seconds: float) -> str:
    sandbox = served.sandbox
    deployment = sandbox.deployment("llm1")
    sandbox.deploy(dataclasses.replace(deployment, state="asleep", cold_start=seconds))
    return sandbox.url("llm1", "sync/v1")


@asynccontextmanager
async def counted(url: str) -> AsyncIterator[tuple[str, list[asyncio.StreamWriter]]]:
    """A relay in front of a URL that counts the connections made."""
    connections: list[asyncio.StreamWriter] = []
    port = urlsplit(url).port

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        own = server.sockets[0].getsockname()[1]
        yield url.replace(f":{port}", f":{own}"), connections


async def test_a_sleeping_deployment_is_waited_for_in_sight(
    serve, ask, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(cold_start, "_REPORT", 0.2)
    served = await serve(engine=RuleEngine())
    llm = served.llm(base_url=put_to_sleep(served, 1.0), wake=30.0)
    with caplog.at_level(logging.INFO):
        answer = await llm.chat(chat_ctx=ask("Hello"), conn_options=SHORT).collect()
    assert answer.text
    assert "deployment is starting" in caplog.text


async def test_without_wake_a_sleeping_deployment_is_a_timeout(serve, ask) -> None:
    served = await serve(engine=RuleEngine())
    llm = served.llm(base_url=put_to_sleep(served, 5.0))
    with pytest.raises(APITimeoutError):
        await llm.chat(chat_ctx=ask("Hello"), conn_options=SHORT).collect()


async def test_a_loading_deployment_is_asked_again(serve, ask, monkeypatch) -> None:
    monkeypatch.setattr(cold_start, "_PAUSE", 0.05)
    loading = Refusal(503, {"error": "Model with name model is not ready."})
    served = await serve(loading, loading, "Good evening.")
    llm = served.llm(base_url=served.sandbox.url("llm1", "sync/v1"), wake=30.0)
    answer = await llm.chat(chat_ctx=ask("x"), conn_options=SHORT).collect()
    assert answer.text == "Good evening."


async def test_waiting_for_a_start_ends(serve, ask, monkeypatch) -> None:
    monkeypatch.setattr(cold_start, "_PAUSE", 0.05)
    served = await serve(Refusal(503, {"error": "Model is not ready."}), loop=True)
    llm = served.llm(base_url=served.sandbox.url("llm1", "sync/v1"), wake=0.5)
    with pytest.raises(APIError, match="not ready"):
        await llm.chat(chat_ctx=ask("x"), conn_options=SHORT).collect()


async def test_other_refusals_are_not_waited_out(serve, ask) -> None:
    served = await serve(Refusal(401, "no"))
    llm = served.llm(base_url=served.sandbox.url("llm1", "sync/v1"), wake=30.0)
    with pytest.raises(APIError):
        await llm.chat(chat_ctx=ask("x"), conn_options=SHORT).collect()
    assert len(served.chats) == 1


async def test_prewarm_opens_a_connection_and_spends_no_token(serve, ask) -> None:
    served = await serve(engine=RuleEngine())
    async with counted(served.sandbox.llm_base_url) as (base_url, connections):
        llm = served.llm(base_url=base_url)
        llm.prewarm()
        await llm._prewarm_task
        assert len(connections) == 1
        assert not served.chats
        for _ in range(3):
            assert (await llm.chat(chat_ctx=ask("Hello")).collect()).text
        await llm.aclose()
    assert len(connections) == 1


async def test_prewarm_wakes_a_dedicated_deployment(serve) -> None:
    served = await serve(engine=RuleEngine())
    llm = served.llm(base_url=put_to_sleep(served, 30.0), wake=60.0)
    llm.prewarm()
    (session,) = await served.sandbox.wait_sessions(1, closed=True)
    assert (session.method, session.route) == ("POST", "wake")
    await llm._prewarm_task


async def test_prewarm_tells_of_a_model_that_is_not_there(serve, caplog) -> None:
    served = await serve(engine=RuleEngine())
    llm = served.llm(model="some/thing")
    with caplog.at_level(logging.WARNING):
        llm.prewarm()
        await llm._prewarm_task
    assert "some/thing isn't among those" in caplog.text


async def test_all_tries_share_one_budget(serve, ask, monkeypatch) -> None:
    monkeypatch.setattr(cold_start, "_PAUSE", 0.05)
    served = await serve(Refusal(503, {"error": "Model is not ready."}), loop=True)
    llm = served.llm(base_url=served.sandbox.url("llm1", "sync/v1"), wake=0.5)
    options = APIConnectOptions(max_retry=2, retry_interval=0.0, timeout=0.3)
    asked: list[int] = []
    llm.on("error", lambda _: asked.append(len(served.chats)))
    with pytest.raises(APIError):
        await llm.chat(chat_ctx=ask("x"), conn_options=options).collect()
    first, second, third = asked
    assert first > 1
    assert (second - first, third - second) == (1, 1)
