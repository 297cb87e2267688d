"""An agent that uses tools, asked by keyboard: no microphone, no speech, only what the LLM does.

    uv run examples/tools.py "What is the weather in Oslo?" "And in Rome and Lisbon?"

Calls that belong together are made together, and a tool that can't do what it is asked says so in words
for the model.
"""

from __future__ import annotations

import argparse

from livekit.agents import Agent, AgentSession, RunContext, ToolError, function_tool
from livekit.agents.voice.run_result import (
    ChatMessageEvent,
    FunctionCallEvent,
    FunctionCallOutputEvent,
    RunResult,
)
from livekit.plugins import baseten
from startup import models, run

_WEATHER = {"oslo": "snow and two degrees below zero", "rome": "sunshine and eighteen degrees"}


class Concierge(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="You help travellers. Answer in one or two short sentences.")

    @function_tool
    async def weather(self, context: RunContext, city: str) -> str:
        """Look up the weather in a city.

        Args:
            city: Its name in English.
        """
        try:
            return f"There is {_WEATHER[city.lower()]} in {city}."
        except KeyError:
            raise ToolError(f"There is no weather station in {city}.") from None

    @function_tool
    async def book_taxi(self, context: RunContext, passengers: int) -> str:
        """Book a taxi for the traveller.

        Args:
            passengers: How many people go.
        """
        if not 1 <= passengers <= 4:
            raise ToolError("A taxi takes one to four passengers.")
        # From here on the booking stands, even if the traveller starts to speak.
        context.disallow_interruptions()
        return f"A taxi for {passengers} is on its way."


async def main(questions: list[str]) -> None:
    async with models(), baseten.LLM() as model, AgentSession(llm=model, vad=None) as session:
        await session.start(Concierge())
        for question in questions:
            print(f"You:   {question}")
            result: RunResult[None] = await session.run(user_input=question)
            for event in result.events:
                if isinstance(event, FunctionCallEvent):
                    print(f"  calls {event.item.name}({event.item.arguments})")
                elif isinstance(event, FunctionCallOutputEvent):
                    print(f"  {'fails' if event.item.is_error else 'gives'}: {event.item.output}")
                elif isinstance(event, ChatMessageEvent):
                    print(f"Agent: {event.item.text_content}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ask an agent that uses tools.")
    parser.add_argument(
        "questions",
        nargs="*",
        default=["What is the weather in Oslo?", "Please book a taxi for two passengers."],
    )
    run(main(parser.parse_args().questions))
