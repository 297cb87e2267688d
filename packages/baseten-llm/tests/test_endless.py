"""A server that goes on and on without saying anything is given up, however lively it seems."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from livekit.agents import APIConnectOptions, APIError, APITimeoutError
from livekit.plugins.baseten_llm import LLM, served
from livekit.plugins.baseten_llm.answers import Answer
from livekit.plugins.baseten_llm.reasoning import SpokenText

PATIENCE = 0.3
BOUND = 20.0  # seconds; without an end of its own an answer takes for ever
ONCE = APIConnectOptions(max_retry=0, timeout=PATIENCE)
# For what must come in time, on a slow machine too.
PATIENT = APIConnectOptions(max_retry=0, timeout=2.0)


def event(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"id": "x", "choices": choices, **more}).encode() + b"\n\n"


def call(**function: Any) -> bytes:
    return event({"tool_calls": [{"index": 0, "function": function}]})


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
STARTED = event({"content": "Good"}, usage=USAGE)
FINISHED = event({"content": "Good."}) + event({}, "stop")

# What says nothing, and what comes before it: once, and then over and over.
EMPTY: dict[str, tuple[bytes, bytes]] = {
    "comments": (b"", b": still here\n\n"),
    "blank lines": (b"", b"\n"),
    "no choices": (b"", event(None)),
    "no delta": (b"", event({})),
    "the role": (b"", event({"role": "assistant", "content": ""})),
    "another choice": (b"", event({"content": "Good"}).replace(b'"index": 0', b'"index": 1')),
    "blanks": (b"", event({"content": "\n\t "})),
    "blank parts": (b"", event({"content": [{"type": "text", "text": " "}]})),
    "blank reasoning": (b"", event({"reasoning_content": "\n"})),
    "blanks in a call": (call(name="f", arguments='{"a":'), call(arguments=" ")),
    "the same call": (b"", call(name="f", arguments="")),
    "the same usage": (event({}, usage=USAGE), event({}, usage=USAGE)),
    "blanks of a body that isn't streamed": (b'{"id": "x",', b"  \n"),
    "nothing but blanks": (b"", b"  "),
}


class Parrot:
    """Answers with some pieces, and then with one of them over and over."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = 0
        self.first: Iterable[bytes] = ()
        self.again = b""
        self.pause = PATIENCE / 10
        self.status = 200

    def llm(self, **options: Any) -> LLM:
        return LLM(**{"api_key": "key", "base_url": self.url, "starts_thinking": False, **options})

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        body = web.StreamResponse(status=self.status)
        await body.prepare(request)
        with contextlib.suppress(ConnectionError):  # the client has gone
            for piece in self.first:
                await body.write(piece)
                await asyncio.sleep(self.pause)
            while self.again:
                await body.write(self.again)
                await asyncio.sleep(self.pause)
        return body


@pytest.fixture
async def parrot() -> AsyncIterator[Parrot]:
    served = Parrot()
    app = web.Application()
    app.router.add_route("*", "/v1/{path:.*}", served.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield served
    await runner.cleanup()


async def answer(llm: LLM, chat_ctx: Any, options: APIConnectOptions = ONCE) -> str:
    said = ""
    try:
        async with llm.chat(chat_ctx=chat_ctx, conn_options=options) as stream:
            async for chunk in stream:
                said += (chunk.delta.content or "") if chunk.delta else ""
    finally:
        await llm.aclose()
    return said


@pytest.mark.parametrize("kind", EMPTY)
async def test_what_says_nothing_is_no_answer(parrot, ask, kind) -> None:
    first, parrot.again = EMPTY[kind]
    parrot.first = [first] if first else []
    with pytest.raises(APITimeoutError):
        await asyncio.wait_for(answer(parrot.llm(), ask("x")), BOUND)


@pytest.mark.parametrize("pause", [0.0, PATIENCE / 10])
async def test_an_answer_that_was_not_begun_is_asked_for_again(parrot, ask, pause) -> None:
    parrot.again, parrot.pause = event({}), pause
    twice = APIConnectOptions(max_retry=1, retry_interval=0.0, timeout=PATIENCE)
    with pytest.raises(APIError) as caught:
        await asyncio.wait_for(answer(parrot.llm(), ask("x"), twice), BOUND)
    assert isinstance(caught.value.__cause__, APITimeoutError)
    assert parrot.asked == 2


async def test_one_that_was_begun_is_not(parrot, ask) -> None:
    parrot.first, parrot.again = [STARTED], event({})
    again = APIConnectOptions(max_retry=3, retry_interval=0.0, timeout=2.0)
    with pytest.raises(APITimeoutError) as caught:
        await asyncio.wait_for(answer(parrot.llm(), ask("x"), again), BOUND)
    assert not caught.value.retryable
    assert parrot.asked == 1


@pytest.mark.parametrize("again", [event(None), b": x\n\n", event({"content": "more"})])
async def test_what_follows_the_finish_is_not_listened_to_for_long(parrot, ask, again) -> None:
    parrot.first, parrot.again = [FINISHED], again
    assert await asyncio.wait_for(answer(parrot.llm(), ask("x"), PATIENT), BOUND) == "Good."


async def test_usage_that_grows_after_the_finish_holds_nothing_up(parrot, ask) -> None:
    grown = ({**USAGE, "completion_tokens": count} for count in range(100_000))
    parrot.first = (event({}, "stop"), *(event(None, usage=usage) for usage in grown))
    assert await asyncio.wait_for(answer(parrot.llm(), ask("x"), PATIENT), BOUND) == ""


async def test_a_refusal_without_an_end_is_one(parrot, ask) -> None:
    parrot.status, parrot.again = 503, b"busy "
    with pytest.raises(APIError):
        await asyncio.wait_for(answer(parrot.llm(), ask("x")), BOUND)


async def test_a_list_of_models_without_an_end_is_an_error(parrot, monkeypatch) -> None:
    monkeypatch.setattr(served, "_TIMEOUT", PATIENCE)
    parrot.again = b" "
    llm = parrot.llm()
    with pytest.raises(APITimeoutError):
        await asyncio.wait_for(llm.list_models(), BOUND)
    await llm.aclose()


LONG = 8  # pieces
SLOW: dict[str, list[bytes]] = {
    "reasoning": [event({"reasoning_content": "hm"})] * LONG,
    "reasoning by another name": [event({"reasoning": "hm"})] * LONG,
    "thoughts in tags": [event({"content": text}) for text in ("<think>", *["hm"] * LONG, "</think>")],
    "a call": [call(name="f", arguments=""), *[call(arguments="1")] * LONG],
    "tokens that are only counted": [
        event({}, usage={**USAGE, "completion_tokens": count}) for count in range(LONG)
    ],
    "a body that isn't streamed": [b'{"id": "x",', *[b'"y": 1,'] * LONG],
}  # fmt: skip


@pytest.mark.parametrize("kind", SLOW)
def test_every_piece_of_an_answer_is_progress(kind) -> None:
    taken = Answer(SpokenText())
    seen = [taken.progress]
    for piece in SLOW[kind][:-1]:
        assert not [*taken.feed(piece)]
        seen.append(taken.progress)
    grown = [later > earlier for earlier, later in pairwise(seen[1:])]
    assert all(grown), seen


async def test_a_long_thought_is_waited_for(parrot, ask) -> None:
    parrot.first = [*SLOW["reasoning"], FINISHED + b"data: [DONE]\n\n"]
    parrot.pause = 2.5 / LONG
    assert await asyncio.wait_for(answer(parrot.llm(), ask("x"), PATIENT), BOUND) == "Good."


async def test_comments_are_welcome_while_a_deployment_starts(parrot, ask) -> None:
    parrot.first = [*[b": starting\n\n"] * 30, FINISHED + b"data: [DONE]\n\n"]
    llm = parrot.llm(wake=BOUND)
    assert await asyncio.wait_for(answer(llm, ask("x")), BOUND) == "Good."


async def test_comments_in_place_of_a_start_end_with_its_budget(parrot, ask) -> None:
    parrot.again = b": starting\n\n"
    llm = parrot.llm(wake=2 * PATIENCE)
    with pytest.raises(APITimeoutError):
        await asyncio.wait_for(answer(llm, ask("x")), BOUND)


@pytest.mark.parametrize("field", ["content", "reasoning_content"])
def test_an_answer_beyond_all_measure_is_refused(field) -> None:
    taken = Answer(SpokenText(may_start_thinking=True))
    piece = event({field: "word " * 50_000})
    with pytest.raises(ValueError, match="too long"):
        for _ in range(100):
            assert not [*taken.feed(piece)]
