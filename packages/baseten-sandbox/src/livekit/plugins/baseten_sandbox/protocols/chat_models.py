"""The models that the sandbox's Model APIs serve, and what sets each apart.

Slugs as served in autumn 2026 (``GET /v1/models`` of the real service is the truth); thinking as documented in
https://docs.baseten.co/inference/model-apis/reasoning, images in
https://docs.baseten.co/inference/model-apis/vision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["MODEL_APIS", "ChatModel", "Thinking", "ThinkingField"]

Thinking = Literal["on", "on-request", "never"]
ThinkingField = Literal["reasoning_content", "reasoning", "tags", "orphan-tag"]

_ALL_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_MOST_IMAGES = 96
_LARGEST_IMAGE = 5 * 1024 * 1024  # characters of base64


@dataclass(frozen=True, kw_only=True)
class ChatModel:
    """One served model.

    Attributes:
        slug: What a request's ``model`` says.
        thinking: ``"on"`` reasons unless ``reasoning_effort`` is ``"none"``; ``"on-request"`` reasons only with
            ``chat_template_args: {"enable_thinking": true}``.
        thinking_field: Where the reasoning goes: a delta field, ``<think>`` tags inside the content, or content with
            only a closing ``</think>``.
        efforts: Values of ``reasoning_effort`` that don't get a 400.
        images: Whether image parts are accepted.
        late_system: Whether the chat template renders a system message after the first place.
        context: Tokens that prompt and answer may have together.
    """

    slug: str
    thinking: Thinking = "never"
    thinking_field: ThinkingField = "reasoning_content"
    efforts: tuple[str, ...] = _ALL_EFFORTS
    images: bool = False
    late_system: bool = True
    context: int = 131072

    def thinks(self, request: Mapping[str, Any]) -> bool:
        """Whether this model reasons before it answers this request."""
        if self.thinking == "on-request":
            return bool((request.get("chat_template_args") or {}).get("enable_thinking"))
        return self.thinking == "on" and request.get("reasoning_effort") != "none"

    def fault_in(self, request: Mapping[str, Any]) -> str | None:
        """Say what this model, unlike others, refuses in the request; None when nothing."""
        effort = request.get("reasoning_effort")
        if effort is not None and effort not in self.efforts:
            return f"reasoning_effort: {self.slug} takes {', '.join(self.efforts)}"
        images = 0
        for position, message in enumerate(request["messages"]):
            if message["role"] == "system" and position and not self.late_system:
                return f"messages.{position}: System message must be at the beginning."
            parts = message.get("content")
            found = [part for part in parts if _is_image(part)] if isinstance(parts, list) else []
            if found and not self.images:
                return f"messages.{position}: {self.slug} doesn't take images"
            images += len(found)
            if images > _MOST_IMAGES:
                return f"messages.{position}: more than {_MOST_IMAGES} images"
            if any(len(part["image_url"]["url"]) > _LARGEST_IMAGE for part in found):
                return f"messages.{position}: an image is larger than 5 MB"
        return None


def _is_image(part: Mapping[str, Any]) -> bool:
    return bool(part["type"] == "image_url")


MODEL_APIS: tuple[ChatModel, ...] = (
    ChatModel(slug="openai/gpt-oss-120b", thinking="on"),
    ChatModel(slug="deepseek-ai/DeepSeek-V4-Pro", thinking="on"),
    ChatModel(slug="zai-org/GLM-4.7", thinking="on-request"),
    ChatModel(slug="zai-org/GLM-5.2", thinking="on", efforts=("none", "high", "max")),
    ChatModel(slug="moonshotai/Kimi-K2.5", thinking="on-request", images=True),
    ChatModel(slug="moonshotai/Kimi-K2.6", thinking="on-request", images=True),
    ChatModel(slug="nvidia/Nemotron-120B-A12B", thinking="on-request"),
    ChatModel(slug="Qwen/Qwen3.8-27B", late_system=False),
)
