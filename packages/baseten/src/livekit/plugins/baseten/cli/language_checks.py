"""The checks of the language model: what it is called, and how soon it answers."""

from __future__ import annotations

import asyncio
import difflib

from livekit.agents import APIConnectOptions, APIError, APIStatusError
from livekit.plugins.baseten_common import Endpoint, errors, timeout as deadline
from livekit.plugins.baseten_llm import LLM
from livekit.plugins.baseten_llm.targets import Target

from . import probes
from .examination import Finding
from .reach import LONGEST, Reach, milliseconds, woken

__all__ = ["LanguageChecks"]

_QUESTION = "Answer with one short sentence: what is the capital of France?"


class LanguageChecks:
    """Checks the LLM."""

    def __init__(self, reach: Reach) -> None:
        """Take what the checks are made with."""
        self._reach = reach
        self._exam = reach.exam

    async def run(self) -> None:
        """Check it."""
        components = self._reach.components

        async def named() -> Finding[Target]:
            target = components.target()
            if self._exam.key is not None:
                # It checks more than the URL.
                await components.llm().aclose()
            return Finding(str(Endpoint.parse(target.base_url)), target)

        within = self._reach.timeout
        target = await self._exam.check("LLM", "URL", named, within=within, timed=False)
        if target is None:
            self._reach.skip("LLM", "URL")
            return
        if not await self._reach.network("LLM", target.base_url):
            return
        llm = components.llm()
        try:
            if await self._listing(llm, target):
                await self._answering(llm, target)
            else:
                self._reach.skip("LLM", "model")
        finally:
            await llm.aclose()

    async def _listing(self, llm: LLM, target: Target) -> bool | None:
        dedicated = target.endpoint is not None

        async def slugs(limit: float) -> list[str]:
            try:
                async with deadline(limit):
                    return await llm.list_models()
            except asyncio.TimeoutError:
                raise errors.timed_out("LLM", limit) from None

        async def listed() -> Finding[bool]:
            try:
                found, waited = await self._reach.awake(
                    "LLM", target.endpoint, slugs, measured=False
                )
            except APIStatusError as e:
                if not dedicated or e.status_code not in (404, 405, 501):
                    raise
                return Finding("this deployment lists none", True, "skipped")
            self._exam.accepted("LLM")
            if dedicated or llm.model in found:
                return Finding(woken(llm.model, waited), True)
            near = difflib.get_close_matches(llm.model, found, n=3, cutoff=0.3) or found[:3]
            return Finding(
                f"{llm.model} isn't among the {len(found)} models that this key can use",
                True,
                "warning",
                f"Choose with --llm-model, such as {', '.join(near)}." if near else "",
            )

        return await self._exam.check("LLM", "model", listed, within=self._reach.wake + LONGEST)

    async def _answering(self, llm: LLM, target: Target) -> None:
        async def ask() -> Finding[bool]:
            reply, waited = await self._reach.awake(
                "LLM",
                target.endpoint,
                lambda limit: probes.answer(
                    llm, _QUESTION, options=APIConnectOptions(max_retry=0, timeout=limit)
                ),
            )
            if not reply.text.strip():
                raise APIError("the model answered nothing", retryable=False)
            return Finding(
                woken(
                    f"first token after {milliseconds(reply.first)}, "
                    f"all after {milliseconds(reply.total)}",
                    waited,
                ),
                True,
                marks={"first token": reply.first},
            )

        within = self._reach.wake + LONGEST
        if await self._exam.check("LLM", "answering", ask, within=within):
            self._exam.accepted("LLM")
