"""An agent that runs in the sandbox's own process: the built-in one, or a class from a file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from livekit.agents import AgentSession
from livekit.agents.llm import LLM
from livekit.agents.utils import http_context
from livekit.agents.voice.transcription import TranscriptSynchronizer

from .agents import INSTALL_HINT, AgentFileError, build, variables
from .audio import BrowserMicrophone, BrowserWords
from .link import Link
from .partner import Partner

__all__ = ["LocalAgent"]

logger = logging.getLogger("livekit.plugins.baseten_sandbox")

_CLOSE_TIMEOUT = 5.0


class LocalAgent(Partner):
    """One conversation with an agent in this process.

    Args:
        path: The user's agent file; ``None`` for the built-in agent.
        environ: See :class:`.Partner`.
        link: See :class:`.Partner`.
        problem: See :class:`.Partner`.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        environ: Mapping[str, str],
        link: Link,
        problem: Callable[[str], None],
    ) -> None:
        super().__init__(environ=environ, link=link, problem=problem)
        self._path = path
        self._failed = asyncio.Event()
        self._session: AgentSession | None = None
        self._microphone: BrowserMicrophone | None = None

    async def run(self, rate: int, listen: Callable[[], Coroutine[None, None, None]]) -> None:
        """See :meth:`.Partner.run`."""
        async with contextlib.AsyncExitStack() as stack:
            with variables(self._environ):
                # The session's TLS settings are read here, from the same variables.
                await stack.enter_async_context(http_context.open())
                try:
                    agent, session = build(self._path)
                except (AgentFileError, ImportError) as error:
                    self._problem(str(error) if self._path is not None else INSTALL_HINT)
                    return
                except Exception as error:
                    # A file in the making may raise anything; its author reads the page.
                    logger.exception("the agent can't be made")
                    self._problem(f"{type(error).__name__}: {error}")
                    return
            self._session = session
            self._attach(stack, session, rate)
            stack.push_async_callback(self._end, session)
            for model in (session.llm, agent.llm):
                if isinstance(model, LLM):
                    model.on("metrics_collected", self._on_llm_metrics)
                    stack.callback(model.off, "metrics_collected", self._on_llm_metrics)
            await session.start(agent=agent, record=False)
            self._link.send("ready")
            tasks = [asyncio.create_task(listen()), asyncio.create_task(self._failed.wait())]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _attach(self, stack: contextlib.AsyncExitStack, session: AgentSession, rate: int) -> None:
        self._microphone = BrowserMicrophone(rate)
        synchronizer = TranscriptSynchronizer(
            next_in_chain_audio=self._speaker, next_in_chain_text=BrowserWords(self._link)
        )
        stack.push_async_callback(synchronizer.aclose)
        session.input.audio = self._microphone
        session.output.audio = synchronizer.audio_output
        session.output.transcription = synchronizer.text_output
        session.on("agent_state_changed", self._on_agent_state)
        session.on("user_state_changed", self._on_user_state)
        session.on("user_input_transcribed", self._on_transcript)
        session.on("conversation_item_added", self._on_item)
        session.on("function_tools_executed", self._on_tools)
        session.on("error", self._on_error)
        session.on("close", self._on_close)

    async def _end(self, session: AgentSession) -> None:
        self._speaker.end()
        if self._microphone is not None:
            self._microphone.end()
        await _close("session", session.aclose)
        # A session leaves its models open for the next one; these were made for this one alone.
        for model in (session.stt, session.llm, session.tts):
            close = getattr(model, "aclose", None)
            if close is not None:
                await _close(type(model).__name__, close)

    # --- from the browser

    def push(self, pcm: bytes) -> None:
        """See :meth:`.Partner.push`."""
        if self._microphone is not None:
            self._microphone.push(pcm)

    def interrupt(self) -> None:
        """See :meth:`.Partner.interrupt`."""
        # It may not run any more, or not be interruptible now: then the wish stays a wish.
        if self._session is not None:
            with contextlib.suppress(RuntimeError):
                self._session.interrupt()
                self._speaker.cut()

    def type(self, text: str) -> None:
        """See :meth:`.Partner.type`."""
        self.interrupt()
        if self._session is not None:
            with contextlib.suppress(RuntimeError):
                self._session.generate_reply(user_input=text)

    # --- from the session

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

    def _on_error(self, event: Any) -> None:
        error = getattr(event.error, "error", event.error)
        kind = str(getattr(event.error, "type", "")).partition("_")[0].upper()
        text = f"{kind}: {error}" if kind else str(error)
        retried = bool(getattr(event.error, "recoverable", False))
        self._link.send("problem", text=text, fatal=False, retried=retried)

    def _on_close(self, event: Any) -> None:
        if event.reason.value == "error":
            self._problem("The session ended after that error. Start again when it is mended.")
        self._failed.set()


async def _close(name: str, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        await asyncio.wait_for(close(), _CLOSE_TIMEOUT)
    except asyncio.TimeoutError:
        logger.warning("the agent's %s didn't close within %g s", name, _CLOSE_TIMEOUT)
    except Exception:
        logger.warning("the agent's %s failed to close", name, exc_info=True)
