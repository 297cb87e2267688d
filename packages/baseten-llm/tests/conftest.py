from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from livekit.agents.llm import ChatContext
from livekit.plugins.baseten_llm import LLM, beginnings
from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.dialogue import ChatEngine
from livekit.plugins.baseten_sandbox.engines.script import Script
from livekit.plugins.baseten_sandbox.protocols.chat_schema import fault_in

Serve = Callable[..., Any]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "BASE_URL", "LLM_MODEL_ENDPOINT", "LLM_MODEL_ID", "LLM_CHAIN_ID"):
        monkeypatch.delenv(f"BASETEN_{name}", raising=False)


@pytest.fixture(autouse=True)
def nothing_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginnings, "_memory", beginnings._Memory())


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=10)
    assert not left


class Served:
    """A sandbox with a chat engine, and LLMs that ask it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.llms: list[LLM] = []
        self.beyond_schema = False

    def llm(self, **options: Any) -> LLM:
        if not options.keys() & {"base_url", "model_id", "chain_id", "client"}:
            options["base_url"] = self.sandbox.llm_base_url
        llm = LLM(**{"api_key": self.sandbox.api_key, **options})
        self.llms.append(llm)
        return llm

    @property
    def chats(self) -> list[Any]:
        """Records of the chat requests, in order."""
        return [s for s in self.sandbox.sessions if "/chat/completions" in s.path]

    @property
    def bodies(self) -> list[Any]:
        return [record.received_json[0] for record in self.chats if record.received_json]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a sandbox. What any test sends to it must fit Baseten's closed schema."""
    started: list[Served] = []

    async def start(
        *turns: Any, engine: ChatEngine | None = None, loop: bool = False, **options: Any
    ) -> Served:
        chat = Script(*turns, loop=loop) if turns else engine
        sandbox = Sandbox(transcriber="tones", synthesizer="tones", chat=chat, **options)
        await sandbox.start()
        served = Served(sandbox)
        started.append(served)
        return served

    yield start
    for served in started:
        for llm in served.llms:
            await llm.aclose()
        await served.sandbox.stop()
    strict = [served for served in started if not served.beyond_schema]
    faults = [fault_in(body) for served in strict for body in served.bodies]
    assert not any(faults), faults


def said(text: str, *, system: str | None = None) -> ChatContext:
    chat_ctx = ChatContext()
    if system is not None:
        chat_ctx.add_message(role="system", content=system)
    chat_ctx.add_message(role="user", content=text)
    return chat_ctx


@pytest.fixture
def ask() -> Callable[..., ChatContext]:
    return said
