"""Makes a chat context into messages that Baseten takes.

Its roles are system, user, assistant and tool, and a message has no fields but the documented ones
(https://docs.baseten.co/reference/inference-api/chat-completions).
"""

from __future__ import annotations

from typing import Any

from livekit.agents.llm import ChatContext

__all__ = ["to_messages"]

_INLINED = "<instructions>\n{}\n</instructions>"
_FIELDS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})


def to_messages(
    chat_ctx: ChatContext, *, fold_system: bool, cache_breakpoints: bool = False
) -> list[dict[str, Any]]:
    """Convert a chat context.

    Args:
        chat_ctx: The conversation. It isn't changed.
        fold_system: Rewrite system messages after the first place as user messages, in
            ``<instructions>`` tags, for chat templates that refuse them.
        cache_breakpoints: Mark cache breakpoints in the content.
    """
    options: dict[str, Any] = {"prompt_cache_breakpoints": True} if cache_breakpoints else {}
    converted, _ = chat_ctx.to_provider_format(format="openai", **options)
    messages = [_message(message) for message in converted]
    if fold_system:
        messages[1:] = [folded for message in messages[1:] if (folded := _folded(message))]
    return messages


def _message(converted: dict[str, Any]) -> dict[str, Any]:
    message = {name: value for name, value in converted.items() if name in _FIELDS}
    if message["role"] == "developer":
        message["role"] = "system"
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [
            {name: call[name] for name in ("id", "type", "function")} for call in calls
        ]
        message.setdefault("content", None)
    return message


def _folded(message: dict[str, Any]) -> dict[str, Any] | None:
    if message["role"] != "system":
        return message
    content = message["content"]
    if isinstance(content, list):
        content = "\n".join(part["text"] for part in content if part["type"] == "text")
    return {"role": "user", "content": _INLINED.format(content)} if content else None
