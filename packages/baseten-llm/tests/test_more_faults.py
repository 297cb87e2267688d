"""Faults of the gateway in front of a model that answers well."""

from __future__ import annotations

from typing import Any

import pytest

from livekit.agents import APIConnectOptions, APIError
from livekit.plugins.baseten_sandbox import Fault

AGAIN = APIConnectOptions(max_retry=3, retry_interval=0.01, timeout=5.0)
ONCE = APIConnectOptions(max_retry=0, timeout=5.0)
SAID = "All is well that ends well."


async def answer(llm: Any, chat_ctx: Any, options: APIConnectOptions) -> str:
    said = ""
    async with llm.chat(chat_ctx=chat_ctx, conn_options=options) as stream:
        async for chunk in stream:
            said += (chunk.delta.content or "") if chunk.delta else ""
    return said


async def test_a_run_of_refusals_is_outlasted(serve, ask) -> None:
    served = await serve(SAID, loop=True)
    faults = served.sandbox.faults
    faults.add(Fault(do="status", status=503))
    faults.add(Fault(do="status", status=429, headers={"Retry-After": "0"}))
    faults.add(Fault(do="reset", on="send"))
    assert await answer(served.llm(), ask("hello"), AGAIN) == SAID
    assert [chat.status for chat in served.chats][:2] == [503, 429]


@pytest.mark.parametrize("do", ["reset", "eof", "finish"])
async def test_an_answer_that_breaks_off_is_an_error(serve, ask, do: Any) -> None:
    served = await serve(SAID, loop=True)
    served.sandbox.faults.add(Fault(do=do, on="send", match='" well"', after=1), times=None)
    with pytest.raises(APIError):
        await answer(served.llm(), ask("hello"), ONCE)
    assert served.chats[0].faults == [do]


async def test_a_distant_and_narrow_line_changes_nothing(serve, ask) -> None:
    served = await serve(SAID, round_trip=0.1, bandwidth=50_000)
    assert await answer(served.llm(), ask("hello"), ONCE) == SAID
