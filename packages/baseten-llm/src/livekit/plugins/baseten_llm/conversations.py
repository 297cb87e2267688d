"""Tells conversations apart, so that each keeps its own prompt cache."""

from __future__ import annotations

import uuid
from collections import OrderedDict

from livekit.agents.llm import ChatContext, ChatItem

__all__ = ["Conversations"]

_REMEMBERED_ITEMS = 4096


class Conversations:
    """Gives each conversation an opaque value, the same at each of its turns.

    A chat context is copied from turn to turn, and an agent's history may be cut at its start, but
    an item keeps its id. So a context belongs to the conversation in which one of its items was
    seen before. Nothing of the items goes into the value.

    An agent that speaks first has no such item at its first turn; the conversation that then
    begins with the agent's words is taken for the same.
    """

    def __init__(self) -> None:
        self._of_item: OrderedDict[str, str] = OrderedDict()
        self._unspoken: str | None = None

    def value(self, chat_ctx: ChatContext) -> str:
        """The value of the conversation that this is a turn of."""
        items = [item for item in chat_ctx.items if _tells_apart(item)]
        known = (self._of_item.get(item.id) for item in reversed(items))
        value = next((value for value in known if value), None)
        if value is None and (not items or _is_spoken_by_agent(items[0])):
            value, self._unspoken = self._unspoken, None
        value = value or uuid.uuid4().hex
        if not items:
            self._unspoken = value
        for item in items:
            self._of_item[item.id] = value
            self._of_item.move_to_end(item.id)
        while len(self._of_item) > max(_REMEMBERED_ITEMS, len(items)):
            self._of_item.popitem(last=False)
        return value


def _tells_apart(item: ChatItem) -> bool:
    # Instructions have ids that all sessions share, or ones made for a single turn.
    if item.type == "message":
        return item.role in ("user", "assistant")
    return item.type in ("function_call", "function_call_output")


def _is_spoken_by_agent(item: ChatItem) -> bool:
    return item.type == "message" and item.role == "assistant"
