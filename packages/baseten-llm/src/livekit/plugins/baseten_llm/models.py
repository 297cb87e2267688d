"""Which models Baseten's Model APIs serve, which are gone, and how each is told to think little.

The lists follow Baseten's pages as of autumn 2026. The truth is ``GET /v1/models``, which
:meth:`LLM.list_models` asks: models go with two weeks' notice
(https://docs.baseten.co/inference/model-apis/deprecation). How each family is told to reason, or
not to, is from https://docs.baseten.co/inference/model-apis/reasoning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

__all__ = [
    "DEFAULT_MODEL",
    "Family",
    "LLMModels",
    "ReasoningEffort",
    "family_of",
    "replacement_for",
]

LLMModels = Literal[
    "deepseek-ai/DeepSeek-V4-Pro",
    "deepseek-ai/DeepSeek-V4.1-Flash",
    "moonshotai/Kimi-K2.5",
    "moonshotai/Kimi-K2.6",
    "moonshotai/Kimi-K2.7-Code",
    "moonshotai/Kimi-K3",
    "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B",
    "nvidia/Nemotron-120B-A12B",
    "openai/gpt-oss-120b",
    "Qwen/Qwen3.8-27B",
    "thinkingmachines/inkling",
    "zai-org/GLM-4.7",
    "zai-org/GLM-5",
    "zai-org/GLM-5.1",
    "zai-org/GLM-5.2",
    "zai-org/GLM-5.3",
]
"""Slugs that the Model APIs serve. Any other string is passed on as it is."""

DEFAULT_MODEL: LLMModels = "openai/gpt-oss-120b"

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much a model thinks before it answers, from not at all upwards."""

_EFFORTS: tuple[ReasoningEffort, ...] = get_args(ReasoningEffort)

_RETIRED = {
    "deepseek-ai/DeepSeek-R1": "deepseek-ai/DeepSeek-V4-Pro",
    "deepseek-ai/DeepSeek-R1-0528": "deepseek-ai/DeepSeek-V4-Pro",
    "deepseek-ai/DeepSeek-V3-0324": "deepseek-ai/DeepSeek-V4-Pro",
    "deepseek-ai/DeepSeek-V3.1": "deepseek-ai/DeepSeek-V4-Pro",
    "deepseek-ai/DeepSeek-V3.2": "deepseek-ai/DeepSeek-V4-Pro",
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct": DEFAULT_MODEL,
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": DEFAULT_MODEL,
    "MiniMaxAI/MiniMax-M2.5": DEFAULT_MODEL,
    "moonshotai/Kimi-K2-Instruct": "moonshotai/Kimi-K2.6",
    "moonshotai/Kimi-K2-Instruct-0905": "moonshotai/Kimi-K2.6",
    "moonshotai/Kimi-K2-Thinking": "moonshotai/Kimi-K2.6",
    "Qwen/Qwen3-235B-A22B-Instruct-2507": "Qwen/Qwen3.8-27B",
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": "Qwen/Qwen3.8-27B",
    "zai-org/GLM-4.6": "zai-org/GLM-4.7",
}
_RETIRED_LOWER = {slug.lower(): replacement for slug, replacement in _RETIRED.items()}


def replacement_for(model: str) -> str | None:
    """The model to use in place of one that the Model APIs no longer serve; None for any other."""
    return _RETIRED_LOWER.get(model.lower())


@dataclass(frozen=True)
class Family:
    """What a family of models takes.

    Attributes:
        efforts: Values of ``reasoning_effort`` that it takes; none if it is switched instead.
        switched: Whether it is told to think by ``enable_thinking``, an argument of its chat
            template. A model that is neither of the two gets what the caller says, unchanged.
        least: The effort sent when the caller names none: as little thinking as makes sense.
        off_by_default: It doesn't think unless told so, hence nothing need be said.
        starts_thinking: Whether its chat template opens ``<think>`` in the prompt, so that an
            answer begins inside the reasoning and shows only the closing tag. None if that isn't
            known, or depends on how it is served.
        tags: What it writes around reasoning in its text.
        folds_system: Its chat template refuses a system message after the first place.
    """

    efforts: tuple[ReasoningEffort, ...] = ()
    switched: bool = False
    least: ReasoningEffort | None = None
    off_by_default: bool = False
    starts_thinking: bool | None = None
    tags: tuple[str, str] = ("<think>", "</think>")
    folds_system: bool = False

    def presumed(self, effort: ReasoningEffort | None, enabled: bool | None) -> bool | None:
        """Whether answers begin inside the reasoning, if the server doesn't tell it apart.

        Where thinking was asked for by an argument of the chat template they are taken to, since
        many templates then open the tag themselves. None if it isn't known.
        """
        wanted = bool(enabled) or effort not in (None, "none")
        return True if wanted and not self.efforts else self.starts_thinking

    def thinking(
        self, effort: ReasoningEffort | None, enabled: bool | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a request says about thinking.

        Args:
            effort: What the caller asks for; None leaves it to the family's voice-first default.
            enabled: Whether the caller wants thinking at all; None leaves it open.

        Returns:
            Fields of the request, and arguments of the chat template.

        Raises:
            ValueError: the two contradict each other.
        """
        if effort is not None and effort not in _EFFORTS:
            raise ValueError(f"reasoning_effort must be one of {', '.join(_EFFORTS)}: {effort!r}")
        if effort is not None and enabled is not None and (effort == "none") == enabled:
            raise ValueError(
                f"reasoning_effort={effort!r} and enable_thinking={enabled} contradict each other"
            )
        if self.efforts:
            return self._by_effort(effort, enabled), {}
        if self.switched:
            return {}, self._by_switch(effort, enabled)
        return (
            {} if effort is None else {"reasoning_effort": effort},
            {} if enabled is None else {"enable_thinking": enabled},
        )

    def _by_effort(self, effort: ReasoningEffort | None, enabled: bool | None) -> dict[str, Any]:
        if effort is None:
            effort = {None: self.least, True: "medium", False: "none"}[enabled]
        return {} if effort is None else {"reasoning_effort": self._nearest(effort)}

    def _by_switch(self, effort: ReasoningEffort | None, enabled: bool | None) -> dict[str, Any]:
        if enabled is None and effort is not None:
            enabled = effort != "none"
        if enabled is None and not self.off_by_default:
            enabled = False
        return {} if enabled is None else {"enable_thinking": enabled}

    def _nearest(self, effort: ReasoningEffort) -> ReasoningEffort:
        # Of two equally near, the one that thinks less: a listener is waiting.
        wanted = _EFFORTS.index(effort)
        return min(self.efforts, key=lambda each: abs(_EFFORTS.index(each) - wanted))


# Families that never think, by their published names: none is among the models for which vLLM
# has a way to tell reasoning apart (https://docs.vllm.ai/en/stable/features/reasoning_outputs/).
# Whole names only: a model that was made from one of these may well have been taught to think.
_PLAIN = r"""(?: (?:Meta-)?Llama-[34](?:\.\d)?(?:-Scout|-Maverick)?-\d+B(?:-\d+E)?(?:-Vision)?-Instruct
    | (?:Mistral|Mixtral|Ministral)(?:-(?:Small|Medium|Large|Nemo))?(?:-[\d.]+)?(?:-[\dx]+B)?
      -Instruct(?:-v?[\d.]+)?
    | gemma-(?:[23]|3n)-\w+-it
    | Phi-[34](?:\.5)?(?:-(?:mini|small|medium|MoE|vision|multimodal|4k|8k|128k))*-instruct
    | Qwen2(?:\.5)?(?:-(?:VL|Coder))?-[\d.]+B-Instruct
    | Qwen3-(?:[\dAB.-]+)-Instruct-2507
    | DeepSeek-V3(?:-0324)?
    | Kimi-K2-Instruct(?:-0905)? )
    (?:[-_.](?:fp8|nvfp4|mxfp4|fp4|bf16|awq|gptq|int[48]|[48]bit|dynamic|quantized|w\da\d+))*"""

_FAMILIES: tuple[tuple[str, Family], ...] = (
    # Thinks in a format without these tags (https://cookbook.openai.com/articles/openai-harmony).
    (r"gpt-oss", Family(efforts=_EFFORTS, least="low", starts_thinking=False)),
    (r"DeepSeek-V4\.1", Family(efforts=("none", "low", "high", "max"), least="none")),
    (r"DeepSeek-V4", Family(efforts=_EFFORTS, least="none")),
    (r"GLM-5\.[2-9]", Family(efforts=("none", "high", "max"), least="none")),
    (r"GLM-(4\.7|5)|Kimi-K2\.[5-9]|Nemotron", Family(switched=True, off_by_default=True)),
    # Not on Baseten's page. Qwen's model cards name the switch, and that it is on by default.
    (r"Qwen3\.8", Family(switched=True, folds_system=True)),
    # The model cards of DeepSeek-R1, QwQ and Qwen3-…-Thinking say so; Thinking Machines is a maker.
    (r"\bR1\b|QwQ|Thinking(?!machines)", Family(starts_thinking=True)),
    (r"gemma-4", Family(tags=("<|channel>thought", "<channel|>"))),
)


def family_of(model: str) -> Family:
    """The family that a model's name, or the path it was loaded from, tells.

    One without any peculiarity if it tells none.
    """
    for pattern, family in _FAMILIES:
        if re.search(pattern, model, re.IGNORECASE):
            return family
    # In a cache of Hugging Face's, two dashes stand for the slash.
    parts = re.split("/|--", model)
    if any(re.fullmatch(_PLAIN, part, re.IGNORECASE | re.VERBOSE) for part in parts):
        return Family(starts_thinking=False)
    return Family()
