"""The restaurant's agent, tested with LiveKit's helpers on the sandbox.

`baseten_environ` and `baseten_faults` come with livekit-plugins-baseten-sandbox; nothing is set up here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from agent import Order, Waiter

from livekit.agents import AgentSession, mock_tools
from livekit.agents.voice.run_result import RunResult
from livekit.plugins import baseten
from livekit.plugins.baseten_sandbox import BackgroundSandbox, Fault
from livekit.plugins.baseten_sandbox.faults import FaultPlan


@pytest.fixture
async def session(baseten_environ: dict[str, str]) -> AsyncIterator[AgentSession[Order]]:
    """A conversation in writing, which has just begun."""
    async with (
        baseten.LLM() as model,
        AgentSession[Order](
            llm=model, vad=None, userdata=Order(), turn_handling={"turn_detection": None}
        ) as session,
    ):
        greeting: RunResult[None] = await session.start(Waiter(), capture_run=True)
        greeting.expect.contains_message(role="assistant")
        yield session


async def test_greets(session: AgentSession[Order]) -> None:
    (greeting,) = session.history.messages()
    assert "evening" in (greeting.text_content or "")


async def test_takes_an_order(session: AgentSession[Order]) -> None:
    result: RunResult[None] = await session.run(user_input="I would like to order two pizzas.")

    result.expect.next_event().is_function_call(name="order_dish")
    result.expect.next_event().is_function_call_output(is_error=False)
    result.expect.next_event().is_message(role="assistant")
    result.expect.no_more_events()
    assert session.userdata.dishes == {"pizza": 2}


async def test_places_it_once_however_often_it_is_asked(session: AgentSession[Order]) -> None:
    await session.run(user_input="I would like to order one soup.")
    for _ in range(2):
        result: RunResult[None] = await session.run(user_input="Please finish.")
        result.expect.contains_function_call(name="finish")
        answer = result.expect.contains_function_call_output(is_error=False)
        assert "6.50" in answer.event().item.output
    assert session.userdata.placed


async def test_says_what_there_is_when_a_dish_is_not_on_the_menu(
    session: AgentSession[Order],
) -> None:
    result: RunResult[None] = await session.run(user_input="I would like to order one elephant.")

    output = result.expect.contains_function_call_output(is_error=True)
    assert "lemonade" in output.event().item.output
    assert session.userdata.dishes == {}


async def test_a_kitchen_that_is_closed_is_told(session: AgentSession[Order]) -> None:
    with mock_tools(Waiter, {"finish": lambda: "The kitchen has closed."}):
        result: RunResult[None] = await session.run(user_input="Please finish.")

    result.expect.contains_message(role="assistant")
    assert "closed" in (session.history.messages()[-1].text_content or "")
    assert not session.userdata.placed


async def test_an_answer_that_breaks_off_is_asked_for_again(
    session: AgentSession[Order], baseten_faults: FaultPlan, baseten_sandbox: BackgroundSandbox
) -> None:
    before = len(baseten_sandbox.sessions)
    baseten_faults.add(Fault(do="status", status=503))

    await session.run(user_input="I would like to order three salads.")

    assert session.userdata.dishes == {"salad": 3}
    assert [s.status for s in baseten_sandbox.sessions[before:]] == [503, 200, 200]
