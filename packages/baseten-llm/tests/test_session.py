"""The LLM in a real AgentSession: tools over two rounds, one prompt cache, interruptions."""

from __future__ import annotations

from livekit.agents import Agent, AgentSession, RunContext, function_tool
from livekit.agents.llm import FallbackAdapter
from livekit.plugins.baseten_sandbox.engines.dialogue import Refusal, Silence
from livekit.plugins.baseten_sandbox.engines.rules import RuleEngine


class Forecaster(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="You tell the weather.")
        self.asked: list[str] = []

    @function_tool
    async def get_weather(self, context: RunContext, city: str) -> str:
        """Tell the weather in a city.

        Args:
            city: Name of the city.
        """
        self.asked.append(city)
        return f"sunny in {city}, 21 °C"


async def test_a_tool_dialogue_of_two_rounds(serve) -> None:
    served = await serve(engine=RuleEngine())
    agent = Forecaster()
    async with AgentSession(llm=served.llm()) as session:
        await session.start(agent)
        first = await session.run(user_input="What is the weather in Paris?")
        second = await session.run(user_input="And what is the weather in Rome and Oslo?")
    assert agent.asked[0] == "Paris"
    assert sorted(agent.asked[1:]) == ["Oslo", "Rome"]
    first.expect.contains_function_call(name="get_weather", arguments={"city": "Paris"})
    said = [
        event.item.text_content
        for result in (first, second)
        for event in result.events
        if event.type == "message" and event.item.role == "assistant"
    ]
    assert said == [
        "Here is what I found. Sunny in Paris, twenty one degrees Celsius.",
        "Here is what I found. Sunny in Rome, twenty one degrees Celsius. "
        "Sunny in Oslo, twenty one degrees Celsius.",
    ]
    # A question and an answer, twice, all of one conversation.
    assert len(served.chats) == 4
    assert len({record.headers["x-session-affinity"] for record in served.chats}) == 1
    roles = [message["role"] for message in served.bodies[-1]["messages"]]
    assert roles == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
        "tool",
        "tool",
    ]


async def test_a_greeting_and_what_follows_share_one_cache(serve) -> None:
    served = await serve(engine=RuleEngine())
    async with AgentSession(llm=served.llm(model="Qwen/Qwen3.8-27B")) as session:
        await session.start(Forecaster())
        await session.generate_reply(instructions="Greet the user and offer your assistance.")
        await session.run(user_input="Hello")
    assert len({record.headers["x-session-affinity"] for record in served.chats}) == 1
    assert [record.status for record in served.chats] == [200, 200]


async def test_a_failing_model_reaches_the_session_as_an_error(serve) -> None:
    served = await serve(Refusal(401, {"error": "bad key"}), loop=True)
    errors = []
    async with AgentSession(llm=served.llm()) as session:
        session.on("error", errors.append)
        await session.start(Agent(instructions="x"))
        await session.generate_reply(user_input="Hello")
    assert len(served.chats) == 1
    assert not errors[0].error.recoverable


async def test_a_fallback_takes_over_from_a_model_that_is_silent(serve, ask) -> None:
    silent = await serve([Silence(before_headers=True)], loop=True)
    good = await serve("Good evening.", loop=True)
    adapter = FallbackAdapter([silent.llm(), good.llm()], attempt_timeout=3.0)
    answer = await adapter.chat(chat_ctx=ask("Hello")).collect()
    assert answer.text == "Good evening."
    await adapter.aclose()
