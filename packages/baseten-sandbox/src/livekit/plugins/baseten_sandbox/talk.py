"""One conversation: a browser on one side, an agent on the other.

Messages from the browser (JSON text; binary is the microphone as mono PCM s16le):

- ``start`` with ``sample_rate``, the microphone's rate in Hz; must come first
- ``started`` with ``segment``: the browser plays the first sample of a segment of speech
- ``finished`` with ``segment`` and ``position``: nothing more of it will sound; so many seconds did
- ``text`` with ``text``: words typed in place of spoken ones
- ``interrupt``: the listener wants silence

Messages to the browser (binary is speech as mono PCM s16le at 24 kHz):

- ``ready``; ``agent`` and ``user`` with ``state``; ``problem`` with ``text`` and ``fatal``
- ``interim`` and ``final`` with ``text``: what is heard
- ``speech`` and ``speech_end`` with ``segment`` around the audio of a segment
- ``clear``, ``pause``, ``resume``: what to do with the playback, at once
- ``words`` with ``text``, a few at a time along with the playback; ``words_end``
- ``said`` with ``text`` and ``interrupted``: the whole utterance, as far as it was spoken
- ``tool`` with ``names``: tools that were called
- ``turn`` with ``number`` and ``stages``: see `page.turns`
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from .page.agents import INSTALL_HINT, preload
from .page.link import Link

if TYPE_CHECKING:
    from .page.partner import Partner  # which needs LiveKit

__all__ = ["Conversation"]

_START_TIMEOUT = 10.0
_RATES = range(8000, 192001)
_LONGEST_TEXT = 2000


class Conversation:
    """Runs one conversation from ``start`` until either side leaves.

    Args:
        ws: The open WebSocket to the browser.
        environ: The environment variables that point the plugins at the sandbox.
        agent: The user's agent file; ``None`` for the built-in agent.
    """

    def __init__(
        self, ws: web.WebSocketResponse, *, environ: Mapping[str, str], agent: Path | None
    ) -> None:
        self._ws = ws
        self._environ = environ
        self._path = agent
        self._link = Link(ws)
        self._agent: Partner | None = None

    async def run(self) -> None:
        """Talk; returns when the conversation is over and all of it is closed."""
        self._link.start()
        try:
            rate = await self._start_message()
            if rate is None:
                return
            await asyncio.get_running_loop().run_in_executor(None, preload)
            try:
                self._agent = self._make_agent()
            except ImportError:
                self._problem(INSTALL_HINT)
                return
            await self._agent.run(rate, self._listen)
        finally:
            await self._link.aclose(drain=1.0)

    async def _start_message(self) -> int | None:
        try:
            message = await asyncio.wait_for(self._ws.receive(), _START_TIMEOUT)
        except asyncio.TimeoutError:
            self._problem("The page didn't start the conversation in time.")
            return None
        if message.type is WSMsgType.TEXT:
            start = _parse(message.data)
            rate = start.get("sample_rate")
            if start.get("type") == "start" and isinstance(rate, int) and rate in _RATES:
                return rate
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            self._problem("The first message must be a start with a sample_rate in Hz.")
        return None

    def _make_agent(self) -> Partner:
        from .page.deployed import DeployedAgent, is_deployed
        from .page.local import LocalAgent

        if self._path is not None and is_deployed(self._path):
            return DeployedAgent(
                self._path, environ=self._environ, link=self._link, problem=self._problem
            )
        return LocalAgent(self._path, environ=self._environ, link=self._link, problem=self._problem)

    async def _listen(self) -> None:
        assert self._agent is not None
        async for message in self._ws:
            if message.type is WSMsgType.BINARY:
                self._agent.push(message.data)
            elif message.type is WSMsgType.TEXT:
                self._obey(self._agent, _parse(message.data))
            if self._link.closed:
                return

    @staticmethod
    def _obey(agent: Partner, message: dict[str, Any]) -> None:
        kind, segment = message.get("type"), message.get("segment")
        if kind == "started" and isinstance(segment, int):
            agent.started(segment)
        elif kind == "finished" and isinstance(segment, int):
            position = message.get("position")
            agent.finished(segment, position if isinstance(position, (int, float)) else 0)
        elif kind == "interrupt":
            agent.interrupt()
        elif kind == "text":
            text = str(message.get("text", "")).strip()[:_LONGEST_TEXT]
            if text:
                agent.type(text)

    def _problem(self, text: str) -> None:
        self._link.send("problem", text=text, fatal=True, retried=False)


def _parse(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
