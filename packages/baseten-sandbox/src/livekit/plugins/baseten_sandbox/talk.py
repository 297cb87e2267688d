"""One conversation: a browser on one side, an `AgentSession` in this process on the other.

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
import contextlib
import json
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from .page.agents import INSTALL_HINT, AgentFileError, build, preload, variables
from .page.link import Link
from .page.turns import Turn, Turns

if TYPE_CHECKING:
    from livekit.agents import AgentSession

    from .page.audio import BrowserMicrophone, BrowserSpeaker

__all__ = ["Conversation"]

logger = logging.getLogger("livekit.plugins.baseten_sandbox")

_START_TIMEOUT = 10.0
_CLOSE_TIMEOUT = 5.0
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
        self._agent_file = agent
        self._link = Link(ws)
        self._turns = Turns()
        self._session: AgentSession | None = None
        self._microphone: BrowserMicrophone | None = None
        self._speaker: BrowserSpeaker | None = None
        self._closing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Talk; returns when the conversation is over and all of it is closed."""
        self._link.start()
        try:
            rate = await self._start_message()
            if rate is not None:
                await self._talk(rate)
        finally:
            if self._closing is not None:
                await asyncio.gather(self._closing, return_exceptions=True)
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

    async def _talk(self, rate: int) -> None:
        await asyncio.get_running_loop().run_in_executor(None, preload)
        try:
            from livekit.agents.llm import LLM
            from livekit.agents.utils import http_context
        except ImportError:
            self._problem(INSTALL_HINT)
            return
        async with contextlib.AsyncExitStack() as stack:
            with variables(self._environ):
                # The session's TLS settings are read here, from the same variables.
                await stack.enter_async_context(http_context.open())
                try:
                    agent, session = build(self._agent_file)
                except AgentFileError as error:
                    self._problem(str(error))
                    return
                except ImportError as error:
                    hint = INSTALL_HINT if self._agent_file is None else str(error)
                    self._problem(hint)
                    return
                except Exception as error:
                    # A file in the making may raise anything; its author reads the page.
                    logger.exception("the agent can't be made")
                    self._problem(f"{type(error).__name__}: {error}")
                    return
            self._session = session
            self._attach(stack, session, rate)
            stack.push_async_callback(self._end)
            for model in (session.llm, agent.llm):
                if isinstance(model, LLM):
                    model.on("metrics_collected", self._on_llm_metrics)
                    stack.callback(model.off, "metrics_collected", self._on_llm_metrics)
            await session.start(agent=agent, record=False)
            self._link.send("ready")
            await self._listen()

    def _attach(self, stack: contextlib.AsyncExitStack, session: AgentSession, rate: int) -> None:
        from livekit.agents.voice.transcription import TranscriptSynchronizer

        from .page.audio import BrowserMicrophone, BrowserSpeaker, BrowserWords

        self._microphone = BrowserMicrophone(rate)
        self._speaker = BrowserSpeaker(self._link, on_first_audio=self._on_first_audio)
        synchronizer = TranscriptSynchronizer(
            next_in_chain_audio=self._speaker, next_in_chain_text=BrowserWords(self._link)
        )
        stack.push_async_callback(synchronizer.aclose)
        session.input.audio = self._microphone
        session.output.audio = synchronizer.audio_output
        session.output.transcription = synchronizer.text_output
        for name, handler in self._handlers().items():
            session.on(name, handler)  # type: ignore[arg-type]
        self._speaker.on("playback_started", self._on_heard)

    async def _end(self) -> None:
        if self._speaker is not None:
            self._speaker.end()
        if self._microphone is not None:
            self._microphone.end()
        session = self._session
        if session is None:
            return
        await self._close("session", session.aclose)
        # A session leaves its models open for the next one; these were made for this one alone.
        for model in (session.stt, session.llm, session.tts):
            close = getattr(model, "aclose", None)
            if close is not None:
                await self._close(type(model).__name__, close)

    @staticmethod
    async def _close(name: str, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await asyncio.wait_for(close(), _CLOSE_TIMEOUT)
        except asyncio.TimeoutError:
            logger.warning("the agent's %s didn't close within %g s", name, _CLOSE_TIMEOUT)
        except Exception:
            logger.warning("the agent's %s failed to close", name, exc_info=True)

    # --- from the browser

    async def _listen(self) -> None:
        async for message in self._ws:
            if message.type is WSMsgType.BINARY:
                assert self._microphone is not None
                self._microphone.push(message.data)
            elif message.type is WSMsgType.TEXT:
                self._obey(_parse(message.data))
            if self._link.closed:
                return

    def _obey(self, message: dict[str, Any]) -> None:
        assert self._speaker is not None
        assert self._session is not None
        kind, segment = message.get("type"), message.get("segment")
        if kind == "started" and isinstance(segment, int):
            self._speaker.started(segment)
        elif kind == "finished" and isinstance(segment, int):
            position = message.get("position")
            self._speaker.finished(segment, position if isinstance(position, (int, float)) else 0)
        elif kind in ("text", "interrupt"):
            # It may not run any more, or not be interruptible now: then the wish stays a wish.
            with contextlib.suppress(RuntimeError):
                self._session.interrupt()
            text = str(message.get("text", "")).strip()[:_LONGEST_TEXT]
            if kind == "text" and text:
                with contextlib.suppress(RuntimeError):
                    self._session.generate_reply(user_input=text)

    # --- from the session

    def _handlers(self) -> dict[str, Callable[[Any], None]]:
        return {
            "agent_state_changed": self._on_agent_state,
            "user_state_changed": self._on_user_state,
            "user_input_transcribed": self._on_transcript,
            "conversation_item_added": self._on_item,
            "function_tools_executed": self._on_tools,
            "error": self._on_error,
            "close": self._on_close,
        }

    def _on_agent_state(self, event: Any) -> None:
        self._link.send("agent", state=event.new_state)

    def _on_user_state(self, event: Any) -> None:
        self._link.send("user", state=event.new_state)

    def _on_transcript(self, event: Any) -> None:
        if event.is_final:
            self._turns.final(event.created_at)
        self._link.send("final" if event.is_final else "interim", text=event.transcript)

    def _on_item(self, event: Any) -> None:
        item = event.item
        if item.type != "message":
            return
        if item.role == "user":
            speech_end = item.metrics.get("stopped_speaking_at")
            self._show(self._turns.committed(event.created_at, speech_end=speech_end))
        elif item.role == "assistant":
            self._link.send("said", text=item.text_content or "", interrupted=item.interrupted)

    def _on_tools(self, event: Any) -> None:
        self._link.send("tool", names=[call.name for call in event.function_calls])

    def _on_llm_metrics(self, metrics: Any) -> None:
        if metrics.ttft >= 0:
            asked = metrics.timestamp - metrics.duration
            self._show(self._turns.first_token(asked, asked + metrics.ttft))

    def _on_first_audio(self) -> None:
        self._show(self._turns.first_audio(time.time()))

    def _on_heard(self, event: Any) -> None:
        self._show(self._turns.heard(event.created_at))

    def _on_error(self, event: Any) -> None:
        error = getattr(event.error, "error", event.error)
        kind = str(getattr(event.error, "type", "")).partition("_")[0].upper()
        text = f"{kind}: {error}" if kind else str(error)
        recoverable = bool(getattr(event.error, "recoverable", False))
        self._problem(text, fatal=False, retried=recoverable)

    def _on_close(self, event: Any) -> None:
        if event.reason.value == "error":
            self._problem("The session ended after that error. Start again when it is mended.")
            self._closing = asyncio.create_task(self._hang_up())

    async def _hang_up(self) -> None:
        await self._link.aclose(drain=1.0)
        await self._ws.close()

    def _show(self, turn: Turn | None) -> None:
        if turn is not None:
            self._link.send("turn", **turn.message())

    def _problem(self, text: str, *, fatal: bool = True, retried: bool = False) -> None:
        self._link.send("problem", text=text, fatal=fatal, retried=retried)


def _parse(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
