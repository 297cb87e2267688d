"""Follows a session from the first word to the last answer, and notes what happened when."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from livekit.agents import (
    AgentSession,
    ErrorEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
    llm,
    metrics,
)
from recording import Microphone

_SILENT = 3.0  # seconds without a word, after which a recording is taken for silent
_SETTLED = 10.0  # seconds after a sound without words, when nothing more is to come of it


class DialogueError(Exception):
    """There won't be an answer; the text says why."""


class _Told(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        # Its warnings come again as the session's errors.
        if record.levelno == logging.INFO:
            self._tell(record.getMessage())


class Dialogue:
    """What is said in a session, and when: Unix times, in seconds."""

    def __init__(self, session: AgentSession) -> None:
        self._session = session
        self._spoke_until = 0.0
        self._finals: list[float] = []
        self._first_tokens: list[float] = []
        self._failure: str | None = None
        self._trouble = ""
        session.on("user_state_changed", self._on_user_state)
        session.on("user_input_transcribed", self._on_transcript)
        session.on("error", self._on_error)
        if isinstance(session.llm, llm.LLM):
            session.llm.on("metrics_collected", self._on_generated)
        # Here the plugin tells what it waits for, such as a deployment that is starting.
        log = logging.getLogger("livekit.plugins.baseten")
        log.setLevel(logging.INFO)
        log.addHandler(_Told(self._on_told))

    def _on_user_state(self, event: UserStateChangedEvent) -> None:
        if event.old_state == "speaking":
            self._spoke_until = event.created_at

    def _on_transcript(self, event: UserInputTranscribedEvent) -> None:
        if event.is_final:
            self._finals.append(event.created_at)

    def _on_generated(self, event: metrics.LLMMetrics) -> None:
        self._first_tokens.append(event.timestamp - event.duration + event.ttft)

    def _on_error(self, event: ErrorEvent) -> None:
        self._trouble = getattr(event.error.error, "message", str(event.error.error))
        # What is recoverable, LiveKit tries again by itself.
        if not event.error.recoverable:
            self._failure = self._failure or self._trouble

    def _on_told(self, text: str) -> None:
        self._trouble = text
        print(f"  ({text})", flush=True)

    @property
    def messages(self) -> list[llm.ChatMessage]:
        """What the user and the agent have said."""
        said = self._session.history.messages()
        return [message for message in said if message.role in ("user", "assistant")]

    async def answered(self, microphone: Microphone, *, patience: float) -> None:
        """Wait until the whole recording has been answered.

        Args:
            microphone: The recording.
            patience: Seconds to wait after its end.

        Raises:
            DialogueError: It won't be.
        """
        while self._failure is None:
            if self._is_over(microphone):
                return
            if microphone.silence > _SILENT and not self._spoke_until:
                raise DialogueError("there is no speech in the recording")
            if microphone.silence > patience:
                why = f": {self._trouble}" if self._trouble else ""
                raise DialogueError(f"no answer within {patience:g} s of the question{why}")
            await asyncio.sleep(0.05)
        raise DialogueError(self._failure)

    def _is_over(self, microphone: Microphone) -> bool:
        session, messages = self._session, self.messages
        if microphone.silence < 0 or session.user_state == "speaking":
            return False
        if session.agent_state != "listening" or len(messages) < 2:
            return False
        question, answer = messages[-2:]
        if (question.role, answer.role) != ("user", "assistant"):
            return False
        # A pause may have split the question: its last part has to be answered too.
        heard_until = question.metrics.get("stopped_speaking_at", 0.0)
        return heard_until >= self._spoke_until or time.time() > self._spoke_until + _SETTLED

    def stages(self) -> dict[str, float]:
        """When the last answer came about, in seconds after the question's last word."""
        question, answer = self.messages[-2:]
        asked = question.metrics["stopped_speaking_at"]
        heard = answer.metrics["started_speaking_at"]

        def last(times: Sequence[float]) -> float:
            # What an answer was begun from and then thrown away doesn't count.
            return max((at for at in times if at <= heard), default=heard) - asked

        return {
            "final transcript": last(self._finals),
            "turn is over": question.metrics["end_of_turn_delay"],
            "first token": last(self._first_tokens),
            "first audio": heard - asked,
        }
