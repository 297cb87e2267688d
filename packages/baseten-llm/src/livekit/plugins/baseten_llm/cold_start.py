"""Waits, in sight, for a dedicated deployment that is scaled to zero or still starting.

Baseten parks a request until a replica is up, so the client sees silence; a replica that isn't
ready may also refuse (https://docs.baseten.co/deployment/autoscaling/request-lifecycle).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import openai

from livekit.agents.utils import aio
from livekit.plugins.baseten_common import errors

from .log import logger

__all__ = ["wait_for_start"]

_PAUSE = 1.0
_REPORT = 5.0

_T = TypeVar("_T")


async def wait_for_start(request: Callable[[float], Awaitable[_T]], *, budget: float) -> _T:
    """Send a request until the deployment is up, telling the log every few seconds.

    Args:
        request: Sends it once; takes the seconds to wait for an answer.
        budget: Seconds for all tries together.

    Raises:
        openai.OpenAIError: what the last try raised.
    """
    start = time.monotonic()
    report = asyncio.create_task(_report(budget), name="baseten_llm_cold_start")
    try:
        while True:
            left = budget - (time.monotonic() - start)
            try:
                return await request(max(left, _PAUSE))
            except openai.APIStatusError as refused:
                cold = errors.is_cold_start(refused.status_code, refused.response.content)
                if not cold or left <= _PAUSE:
                    raise
            await asyncio.sleep(_PAUSE)
    finally:
        await aio.cancel_and_wait(report)


async def _report(budget: float) -> None:
    waited = 0.0
    while True:
        await asyncio.sleep(_REPORT)
        waited += _REPORT
        logger.info(
            "LLM: the deployment is starting, waited %.0f s of at most %.0f s", waited, budget
        )
