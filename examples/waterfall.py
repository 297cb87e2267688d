"""Where the time of a turn went: from the session's own events to a picture made of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from livekit.agents import (
    AgentSession,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
    llm,
    metrics,
)

_WIDTH = 44


class Timeline:
    """Notes when what happens in a session. Times are Unix times, in seconds."""

    def __init__(self, session: AgentSession) -> None:
        self.spoke_until = 0.0
        self._finals: list[float] = []
        self._first_tokens: list[float] = []
        session.on("user_state_changed", self._on_user_state)
        session.on("user_input_transcribed", self._on_transcript)
        if isinstance(session.llm, llm.LLM):
            session.llm.on("metrics_collected", self._on_generated)

    def _on_user_state(self, event: UserStateChangedEvent) -> None:
        if event.old_state == "speaking":
            self.spoke_until = event.created_at

    def _on_transcript(self, event: UserInputTranscribedEvent) -> None:
        if event.is_final:
            self._finals.append(event.created_at)

    def _on_generated(self, event: metrics.LLMMetrics) -> None:
        self._first_tokens.append(event.timestamp - event.duration + event.ttft)

    def stages(self, question: llm.ChatMessage, answer: llm.ChatMessage) -> dict[str, float]:
        """What happened between a question and its answer, in seconds after the question's end."""
        asked = question.metrics["stopped_speaking_at"]
        heard = answer.metrics["started_speaking_at"]

        def last(times: Sequence[float]) -> float:
            # An answer begun too early is thrown away: what counts is what came last before this one.
            return max((at for at in times if at <= heard), default=heard) - asked

        return {
            "final transcript": last(self._finals),
            "turn is over": question.metrics["end_of_turn_delay"],
            "first token": last(self._first_tokens),
            "first audio": heard - asked,
        }


def waterfall(stages: Mapping[str, float]) -> str:
    """Draw stages as bars, each of which begins where the one before it ended."""
    ordered = sorted(stages.items(), key=lambda stage: stage[1])
    names = max(map(len, stages))
    scale = _WIDTH / max(ordered[-1][1], 0.001)
    lines, at = [], 0
    for name, seconds in ordered:
        # What comes before the end of speech takes no time.
        until = max(at, round(max(seconds, 0.0) * scale))
        bar = " " * at + ("█" * (until - at) or "▏")
        lines.append(f"  {name:<{names}}  {bar:<{_WIDTH + 1}} {seconds * 1000:6.0f} ms")
        at = until
    return "\n".join(lines)
