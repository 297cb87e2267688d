"""The other end of a conversation with the browser, wherever it runs."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Coroutine, Mapping

from .audio import BrowserSpeaker
from .link import Link
from .turns import Turn, Turns

__all__ = ["Partner"]


class Partner(abc.ABC):
    """An agent, as the page has to do with it.

    Args:
        environ: The environment variables that point the plugins at the sandbox.
        link: The way to the browser.
        problem: Tells the user what went wrong.
    """

    def __init__(
        self, *, environ: Mapping[str, str], link: Link, problem: Callable[[str], None]
    ) -> None:
        self._environ = environ
        self._link = link
        self._problem = problem
        self._turns = Turns()
        self._speaker = BrowserSpeaker(link, on_first_audio=self._on_first_audio)
        self._speaker.on("playback_started", lambda e: self._show(self._turns.heard(e.created_at)))

    @abc.abstractmethod
    async def run(self, rate: int, listen: Callable[[], Coroutine[None, None, None]]) -> None:
        """Talk until the browser leaves or the agent ends.

        Args:
            rate: Hz of the browser's microphone.
            listen: Reads the browser's messages until there are no more.
        """

    @abc.abstractmethod
    def push(self, pcm: bytes) -> None:
        """Let the agent hear PCM s16le."""

    @abc.abstractmethod
    def interrupt(self) -> None:
        """Silence the agent."""

    @abc.abstractmethod
    def type(self, text: str) -> None:
        """Let the agent answer typed words."""

    def started(self, segment: int) -> None:
        """The browser began to play a segment."""
        self._speaker.started(segment)

    def finished(self, segment: int, position: float) -> None:
        """The browser is done with a segment after so many seconds of it."""
        self._speaker.finished(segment, position)

    def _on_first_audio(self) -> None:
        self._show(self._turns.first_audio(time.time()))

    def _show(self, turn: Turn | None) -> None:
        if turn is not None:
            self._link.send("turn", **turn.message())
