"""An answer cut at any byte is either whole, or an error: never a short success."""

from __future__ import annotations

import aiohttp
import pytest

from livekit.agents import APIConnectOptions, APIError
from livekit.agents.llm import function_tool
from livekit.plugins.baseten_sandbox.engines.dialogue import Cut, Raw, Reasoning, Text, ToolCall
from livekit.plugins.baseten_sandbox.engines.script import Script

ONCE = APIConnectOptions(max_retry=0, timeout=10)
TEXT = "Où 😀?"
CALL = '{"c":1}'


@function_tool
async def f(c: int) -> str:
    """Tell the weather."""
    return "x"


async def recorded(serve) -> bytes:
    """One answer, as the server sends it."""
    served = await serve([Reasoning("hm"), Text(TEXT), ToolCall("f", CALL, "id1")])
    body = {
        "model": "openai/gpt-oss-120b",
        "messages": [{"role": "user", "content": "x"}],
        "stream": True,
        "stream_options": {"continuous_usage_stats": False},
    }
    headers = {"Authorization": f"Bearer {served.sandbox.api_key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.post(f"{served.sandbox.llm_base_url}/chat/completions", json=body) as response,
    ):
        return await response.read()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("politely", [True, False])
async def test_an_answer_cut_at_any_byte(serve, ask, politely: bool) -> None:
    wire = await recorded(serve)
    finish = wire.index(b"\n\n", wire.index(b'"finish_reason": "tool_calls"')) + 2
    places = range(0, len(wire))
    script = Script(*([Raw(wire[:place]), Cut(politely)] for place in places))
    served = await serve(engine=script)
    llm = served.llm()
    for place in places:
        heard, calls, failure = "", [], None
        try:
            async with llm.chat(chat_ctx=ask("x"), tools=[f], conn_options=ONCE) as stream:
                async for chunk in stream:
                    if chunk.delta:
                        heard += chunk.delta.content or ""
                        calls += chunk.delta.tool_calls
        except APIError as error:
            failure = error
        if place < finish:
            assert failure is not None, place
            assert TEXT.startswith(heard)
            assert not calls
            assert failure.retryable == (not heard), place
        else:
            assert failure is None, place
            assert (heard, [call.arguments for call in calls]) == (TEXT, [CALL])
