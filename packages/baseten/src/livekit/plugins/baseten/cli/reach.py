"""The checks that every part has in common: its URL, the way to its host, the handshake."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from livekit.agents import utils
from livekit.plugins.baseten_common import Endpoint, Transport, WebSocket

from . import network
from .components import Components, Part
from .examination import Examination, Finding
from .waking import awake

__all__ = ["LONGEST", "STEPS", "Reach", "milliseconds", "woken"]

STEPS: dict[str, tuple[str, ...]] = {
    "key": ("present", "accepted"),
    "STT": ("URL", "network", "TLS", "handshake", "configuration", "hearing"),
    "TTS": ("URL", "network", "TLS", "handshake", "speaking"),
    "LLM": ("URL", "network", "TLS", "model", "answering"),
}
"""The checks of each part."""

LONGEST = 120.0
"""Seconds for a check, beside the wait for a model to wake."""

_T = TypeVar("_T")


def milliseconds(seconds: float) -> str:
    """A time, for reading."""
    return f"{seconds * 1000:.0f} ms"


def woken(detail: str, waited: float) -> str:
    """What was found, and how long the model took to wake."""
    return f"{detail} (woken in {waited:.1f} s)" if waited else detail


@dataclass(frozen=True)
class Reach:
    """What the checks are made with.

    Attributes:
        components: Makes the components.
        exam: Keeps what is found.
        timeout: Seconds for each answer.
        wake: Seconds to wait for a deployment that is asleep or starting.
    """

    components: Components
    exam: Examination
    timeout: float
    wake: float

    def skip(self, part: str, after: str, why: str = "not tried: an earlier check failed") -> None:
        """Note that the checks after one aren't made."""
        rest = STEPS[part][STEPS[part].index(after) + 1 :]
        if rest:
            self.exam.note(part, rest[0], "skipped", why, steps=len(rest))

    async def network(self, part: Part, url: str) -> bool:
        """Check the way to a host; whether there is one, and a key to go on with."""

        async def connect() -> Finding[network.Line]:
            line = await network.connect(url, timeout=self.timeout)
            return Finding(f"{line.host} answers", line, marks={"name": line.resolved})

        line = await self.exam.check(part, "network", connect, within=3 * self.timeout)
        if line is None:
            self.skip(part, "network")
            return False
        if not line.secure:
            self.exam.note(part, "TLS", "skipped", "plain text, which stays on this machine")
        else:

            async def secure() -> Finding[bool]:
                session = utils.http_context.http_session()
                return Finding(await network.secure(line, session, timeout=self.timeout), True)

            if not await self.exam.check(part, "TLS", secure, within=3 * self.timeout):
                self.skip(part, "TLS")
                return False
        if self.exam.key is None:
            self.skip(part, "TLS", "not tried: there is no API key")
            return False
        return True

    async def handshake(self, part: Part, endpoint: Endpoint) -> WebSocket | None:
        """Open a WebSocket; None when it can't be opened."""
        transport = self.transport(part)

        async def dial() -> Finding[WebSocket]:
            ws, waited = await self.awake(
                part,
                endpoint,
                lambda limit: transport.connect(endpoint, what="connecting", timeout=limit),
                measured=False,
            )
            return Finding(
                woken("WebSocket open", waited),
                ws,
                seconds=waited or ws.acquire_time,
            )

        ws = await self.exam.check(part, "handshake", dial, within=self.wake + LONGEST)
        if ws is None:
            self.skip(part, "handshake")
        else:
            self.exam.accepted(part)
        return ws

    def transport(self, part: Part) -> Transport:
        """A transport of its own, which presents the key as the component does."""
        assert self.exam.key is not None
        return Transport(api_key=self.exam.key, auth_scheme=self.components.auth_scheme(part))

    async def awake(
        self,
        part: Part,
        endpoint: Endpoint | None,
        attempt: Callable[[float], Awaitable[_T]],
        *,
        measured: bool = True,
    ) -> tuple[_T, float]:
        """Try something, waking the deployment if it is asleep; see :func:`.awake`.

        Args:
            part: What is tried.
            endpoint: Its deployment; None for the Model APIs, which don't sleep.
            attempt: See :func:`.awake`.
            measured: Try again once it is awake, since the first try took in the waking.
        """
        wake = None
        if endpoint is not None:
            wake = functools.partial(self.transport(part).wake, endpoint, timeout=self.timeout)
        result, waited = await awake(
            attempt,
            timeout=self.timeout,
            budget=0.0 if endpoint is None else self.wake,
            wake=wake,
            progress=self.exam.progress,
        )
        if waited and measured:
            result = await attempt(self.timeout)
        return result, waited
