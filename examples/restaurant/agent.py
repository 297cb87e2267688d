"""An agent that takes orders in a restaurant.

    uv run baseten-sandbox --agent examples/restaurant/agent.py    # talk to it in the browser

Its tests are beside it: `uv run pytest examples/restaurant`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from livekit.agents import Agent, AgentSession, RunContext, ToolError, function_tool
from livekit.plugins import baseten

__all__ = ["MENU", "Order", "Waiter", "create_agent", "create_session"]

MENU = {"pizza": 11.0, "soup": 6.5, "salad": 8.0, "lemonade": 4.0}
"""Prices of the dishes, in euros."""


@dataclass
class Order:
    """What one caller has ordered so far."""

    dishes: dict[str, int] = field(default_factory=dict)
    placed: bool = False

    @property
    def price(self) -> float:
        return sum(MENU[dish] * count for dish, count in self.dishes.items())


class Waiter(Agent):
    def __init__(self) -> None:
        super().__init__(
            instructions="You take orders in a small restaurant, by phone. The menu: "
            f"{', '.join(MENU)}. Be short and kind. Say the order back before you place it."
        )

    async def on_enter(self) -> None:
        self.session.say("Good evening! What may I bring you?")

    @function_tool
    async def order_dish(self, context: RunContext[Order], dish: str, count: int) -> str:
        """Add a dish to the caller's order.

        Args:
            dish: What the caller would like, as on the menu.
            count: How many of it.
        """
        # Models, and callers, put more words around a dish than the menu does.
        found = next((name for name in MENU if name in dish.lower()), None)
        if found is None:
            raise ToolError(f"That isn't on the menu. There is {', '.join(MENU)}.")
        if not 1 <= count <= 20:
            raise ToolError("Between one and twenty of a dish can be ordered.")
        dishes = context.userdata.dishes
        dishes[found] = dishes.get(found, 0) + count
        return f"There is now {dishes[found]} {found} in the order."

    @function_tool
    async def finish(self, context: RunContext[Order]) -> str:
        """Finish: place everything with the kitchen, once the caller has agreed."""
        order = context.userdata
        if not order.dishes:
            raise ToolError("Nothing has been ordered yet.")
        # Said twice, it is still cooked once.
        if not order.placed:
            context.disallow_interruptions()
            await self.send_to_kitchen(order)
            order.placed = True
        return f"It is in the kitchen. It costs {order.price:.2f} euros."

    async def send_to_kitchen(self, order: Order) -> None:
        """Put the order into the restaurant's own system."""


def create_agent() -> Agent:
    return Waiter()


def create_session() -> AgentSession[Order]:
    return AgentSession(
        userdata=Order(), stt=baseten.STT(), llm=baseten.LLM(), tts=baseten.TTS(voice="tara")
    )
