"""The LLM: which model on Baseten is asked, and with which options."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import httpx2 as httpx
import openai
from openai.types.chat import completion_create_params

from livekit.agents import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectOptions,
    APIStatusError,
    NotGivenOr,
)
from livekit.agents.llm import LLM as BaseLLM, ChatContext, Tool, ToolChoice, utils as llm_utils
from livekit.agents.utils import is_given
from livekit.plugins.baseten_common import AuthScheme, timeout as within

from .access import Access
from .client import close, close_when_dropped
from .conversations import Conversations
from .log import logger
from .models import DEFAULT_MODEL, Family, LLMModels, ReasoningEffort, family_of, replacement_for
from .requests import Options, check_fields
from .served import Served
from .stream import LLMStream

__all__ = ["LLM"]

_WAKING = 30.0

_T = TypeVar("_T")
_U = TypeVar("_U")


class LLM(BaseLLM):
    """A language model on Baseten: on the Model APIs, a dedicated deployment, or any URL.

    The Model APIs are asked at ``https://inference.baseten.co/v1`` by a model's slug
    (https://docs.baseten.co/inference/model-apis/overview). A dedicated deployment is named by
    ``model_id`` or ``chain_id`` and asked at its ``sync/v1`` URL
    (https://docs.baseten.co/inference/calling-your-model).

    Thinking is kept to the least that the model allows, unless ``reasoning_effort`` or
    ``enable_thinking`` say otherwise, and never reaches speech.
    """

    def __init__(
        self,
        *,
        model: NotGivenOr[LLMModels | str] = NOT_GIVEN,
        api_key: NotGivenOr[str] = NOT_GIVEN,
        base_url: NotGivenOr[str] = NOT_GIVEN,
        model_id: NotGivenOr[str] = NOT_GIVEN,
        chain_id: NotGivenOr[str] = NOT_GIVEN,
        environment: NotGivenOr[str] = NOT_GIVEN,
        deployment_id: NotGivenOr[str] = NOT_GIVEN,
        development: bool = False,
        regional: bool = False,
        auth_scheme: AuthScheme = "Bearer",
        client: openai.AsyncClient | None = None,
        timeout: httpx.Timeout | float | None = None,
        max_retries: NotGivenOr[int] = NOT_GIVEN,
        wake: float = 0.0,
        temperature: NotGivenOr[float] = NOT_GIVEN,
        top_p: NotGivenOr[float] = NOT_GIVEN,
        top_k: NotGivenOr[int] = NOT_GIVEN,
        min_p: NotGivenOr[float] = NOT_GIVEN,
        repetition_penalty: NotGivenOr[float] = NOT_GIVEN,
        presence_penalty: NotGivenOr[float] = NOT_GIVEN,
        frequency_penalty: NotGivenOr[float] = NOT_GIVEN,
        seed: NotGivenOr[int] = NOT_GIVEN,
        stop: NotGivenOr[str | list[str]] = NOT_GIVEN,
        max_tokens: NotGivenOr[int] = NOT_GIVEN,
        max_completion_tokens: NotGivenOr[int] = NOT_GIVEN,
        reasoning_effort: NotGivenOr[ReasoningEffort] = NOT_GIVEN,
        enable_thinking: NotGivenOr[bool] = NOT_GIVEN,
        starts_thinking: NotGivenOr[bool] = NOT_GIVEN,
        chat_template_args: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
        inline_mid_conversation_instructions: NotGivenOr[bool] = NOT_GIVEN,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        strict_tool_schema: bool = True,
        session_affinity: bool = True,
        user: NotGivenOr[str] = NOT_GIVEN,
        safety_identifier: NotGivenOr[str] = NOT_GIVEN,
        prompt_cache_key: NotGivenOr[str] = NOT_GIVEN,
        prompt_cache_retention: NotGivenOr[Literal["in_memory", "24h"]] = NOT_GIVEN,
        prompt_cache_options: NotGivenOr[completion_create_params.PromptCacheOptions] = NOT_GIVEN,
        prompt_cache_breakpoints: bool | Literal["auto"] = "auto",
        store: NotGivenOr[bool] = NOT_GIVEN,
        metadata: NotGivenOr[dict[str, str]] = NOT_GIVEN,
        service_tier: NotGivenOr[str] = NOT_GIVEN,
        verbosity: NotGivenOr[Literal["low", "medium", "high"]] = NOT_GIVEN,
        extra_body: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
        extra_headers: NotGivenOr[dict[str, str]] = NOT_GIVEN,
        extra_query: NotGivenOr[dict[str, str]] = NOT_GIVEN,
    ) -> None:
        """Keep the options; nothing is dialled.

        Args:
            model: The model's slug, ``openai/gpt-oss-120b`` by default; for a dedicated
                deployment the name it serves under, by default its id, since most don't check.
            api_key: Baseten API key; else ``BASETEN_API_KEY``. Not needed with ``client``.
            base_url: Where to ask, up to and including ``/v1``; else ``BASETEN_BASE_URL``, else
                the Model APIs. Plain ``http://`` only on loopback.
            model_id: A dedicated model to ask instead.
            chain_id: A dedicated chain to ask instead.
            environment: Environment of the model or chain, ``production`` by default.
            deployment_id: A fixed deployment of it, in place of an environment.
            development: Its development deployment, in place of an environment.
            regional: Use the environment's own host, which pins the region.
            auth_scheme: How the key is presented; ``Api-Key`` is what federated keys need.
            client: Use this ``openai`` client, its URL, its key and its retries. It isn't closed here.
            timeout: Bounds connecting and sending, and each wait for the next piece of an answer
                (words, reasoning, a tool call), in seconds; by default LiveKit's
                ``conn_options.timeout`` bounds each.
            max_retries: Tries of the client itself, beneath LiveKit's. None by default.
            wake: Seconds to wait for a dedicated deployment that is scaled to zero or starting,
                with a line in the log every 5 s. ``prewarm()`` then wakes it. 0: as any request.
            temperature: 0 to 4.
            top_p: 0 to 1.
            top_k: Tokens to choose from.
            min_p: 0 to 1.
            repetition_penalty: From 0; 1 is none.
            presence_penalty: -2 to 2.
            frequency_penalty: -2 to 2.
            seed: Makes sampling repeatable, as far as the model server goes along.
            stop: One sequence that ends an answer, or up to 32.
            max_tokens: Limit of an answer, reasoning included.
            max_completion_tokens: The same, under OpenAI's name.
            reasoning_effort: How much to think: ``none`` to ``max``. A family that takes only
                some of the values gets the nearest. Left out: ``low`` for gpt-oss, ``none`` for
                DeepSeek V4 and GLM 5.2; others don't think unless asked.
            enable_thinking: Whether to think at all, in each family's own words.
            starts_thinking: Whether answers begin inside the reasoning and show only ``</think>``;
                True holds the text back until then, False never. Left out, it is known for the
                Model APIs and for models known by name or by what the deployment lists to
                ``prewarm()``; of any other, the first answer is held back until it shows, for all
                LLMs of the process, and the log says so.
            chat_template_args: Arguments of the model's chat template.
            inline_mid_conversation_instructions: Send system messages after the first place as
                user messages, in ``<instructions>`` tags. By default only for models whose chat
                template refuses such (``Qwen/Qwen3.8-27B``).
            parallel_tool_calls: Whether one answer may call several tools.
            tool_choice: Whether and which tools must be called.
            strict_tool_schema: Send tool schemas with ``strict: true``.
            session_affinity: Send ``x-session-affinity``, an opaque value for each conversation,
                which makes cached prompts be found
                (https://docs.baseten.co/inference/model-apis/pricing-and-limits).
            user: Passed on.
            safety_identifier: Passed on; not in Baseten's reference.
            prompt_cache_key: Passed on; not in Baseten's reference.
            prompt_cache_retention: Passed on; not in Baseten's reference.
            prompt_cache_options: Passed on; not in Baseten's reference.
            prompt_cache_breakpoints: True marks cache breakpoints; not in Baseten's reference.
            store: Passed on; not in Baseten's reference.
            metadata: Passed on; not in Baseten's reference.
            service_tier: Passed on; not in Baseten's reference.
            verbosity: Passed on; not in Baseten's reference.
            extra_body: Further fields of each request.
            extra_headers: Headers of each request.
            extra_query: Added to each URL.

        Raises:
            ValueError: an option can't be used, two contradict each other, or no key is found.
        """
        if is_given(model) and not model.strip():
            raise ValueError(f"model is blank; a slug looks like {DEFAULT_MODEL!r}")
        where = {
            "model_id": _or_none(model_id),
            "chain_id": _or_none(chain_id),
            "environment": _or_none(environment),
            "deployment_id": _or_none(deployment_id),
            "development": development,
            "regional": regional,
        }
        if client is None:
            access = Access.make(
                api_key=_or_none(api_key),
                auth_scheme=auth_scheme,
                max_retries=max_retries or 0,
                base_url=_or_none(base_url),
                **where,
            )
        elif any(named not in (None, False) for named in where.values()):
            raise ValueError("a client has a URL of its own: pass it, or model_id=/chain_id=")
        else:
            access = Access.by(client)
        endpoint = access.target.endpoint
        named = model or (endpoint.id if endpoint else DEFAULT_MODEL)
        family = family_of(named) if model or not endpoint else Family()
        given: dict[str, Any] = {
            "user": user,
            "safety_identifier": safety_identifier,
            "prompt_cache_key": prompt_cache_key,
            "prompt_cache_retention": prompt_cache_retention,
            "prompt_cache_options": prompt_cache_options,
            "store": store,
            "metadata": metadata,
            "service_tier": service_tier,
            "verbosity": verbosity,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "presence_penalty": presence_penalty,
            "frequency_penalty": frequency_penalty,
            "seed": seed,
            "stop": stop,
            "max_tokens": max_tokens,
            "max_completion_tokens": max_completion_tokens,
        }
        asked = {n: value for n, value in given.items() if is_given(value) and value is not None}
        self._options = Options(
            model=named,
            family=family,
            fields=check_fields(asked),
            reasoning_effort=reasoning_effort or None,
            enable_thinking=_or_none(enable_thinking),
            chat_template_args=chat_template_args or {},
            parallel_tool_calls=parallel_tool_calls,
            tool_choice=tool_choice,
            extra_body=extra_body or {},
            extra_headers=extra_headers or {},
            extra_query=extra_query or {},
            timeout=httpx.Timeout(timeout) if isinstance(timeout, (int, float)) else timeout,
            wake=wake,
            fold_system=_either(inline_mid_conversation_instructions, family.folds_system),
            cache_breakpoints=prompt_cache_breakpoints is True,
            strict_tools=strict_tool_schema,
        )
        super().__init__()
        self._access = access
        if access.owned:
            close_when_dropped(self, access.client)
        self._starts_thinking = _or_none(starts_thinking)
        # The Model APIs send reasoning in a field of its own
        # (https://docs.baseten.co/inference/model-apis/reasoning).
        self._served_starts_thinking = False if access.target.is_model_apis else None
        self._conversations = Conversations() if session_affinity else None
        if not endpoint and (replacement := replacement_for(named)):
            logger.warning(
                "the model %s is retired from Baseten's Model APIs; use %s instead",
                named,
                replacement,
            )

    @property
    def model(self) -> str:
        """The model's slug, or the name a dedicated deployment is asked by."""
        return self._options.model

    @property
    def provider(self) -> str:
        """``Baseten``."""
        return "Baseten"

    def chat(
        self,
        *,
        chat_ctx: ChatContext,
        tools: list[Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        response_format: NotGivenOr[
            completion_create_params.ResponseFormat | type[llm_utils.ResponseFormatT]
        ] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> LLMStream:
        """Ask for an answer.

        Args:
            chat_ctx: The conversation. It isn't changed.
            tools: Tools that the model may call.
            conn_options: Retries, and the timeout where the LLM has none of its own.
            parallel_tool_calls: Whether the answer may call several tools.
            tool_choice: Whether and which tools must be called.
            response_format: A pydantic model, a dataclass or typed dict that the answer's JSON
                must fit, or the field as Baseten's reference has it.
            extra_kwargs: Options of this call: any field of a request, ``extra_body``,
                ``extra_headers``, ``extra_query``, ``enable_thinking``. They win over those of
                the constructor.

        Raises:
            ValueError: an option of the call can't be used.
        """
        call = self._options.call(
            extra_kwargs or {},
            with_tools=bool(tools),
            parallel_tool_calls=parallel_tool_calls,
            tool_choice=tool_choice,
            response_format=response_format,
        )
        headers = {}
        if self._conversations is not None:
            headers["x-session-affinity"] = self._conversations.value(chat_ctx)
        return LLMStream(
            self,
            access=self._access,
            request=self._options.request(
                call,
                timeout=conn_options.timeout,
                headers=headers,
                starts_thinking=self._starts_thinking,
                otherwise=self._served_starts_thinking,
            ),
            chat_ctx=chat_ctx,
            tools=tools or [],
            conn_options=conn_options,
        )

    async def list_models(self) -> list[str]:
        """The slugs that can be asked for with this key, by ``GET /v1/models``.

        Raises:
            APIError: the listing failed, or took more than 30 seconds.
        """
        return [*(await Served.ask(self._access)).names]

    async def aclose(self) -> None:
        """Close the connections; a client of the caller's own stays as it is."""
        await super().aclose()
        if self._access.owned:
            await close(self._access.client)

    async def _prewarm_impl(self) -> None:
        endpoint = self._access.target.endpoint
        if self._options.wake and endpoint is not None:
            async with within(_WAKING):
                await self._access.client.post(endpoint.route("wake"), cast_to=httpx.Response)
            return
        try:
            served = await Served.ask(self._access)
        except APIStatusError as refused:
            # Any answer leaves a connection to reuse; a refused key is worth telling early.
            if refused.status_code in (401, 403):
                logger.warning("%s", refused.message)
            return
        if endpoint is None and served.names and self.model not in served.names:
            logger.warning("the model %s isn't among those that this key can use", self.model)
        if self._served_starts_thinking is None:
            self._served_starts_thinking = served.starts_thinking(self.model)


def _or_none(value: NotGivenOr[_T]) -> _T | None:
    return value if is_given(value) else None


def _either(value: NotGivenOr[_T], otherwise: _U) -> _T | _U:
    return value if is_given(value) else otherwise
