"""Looks at the audio now and then: what was silence, and whether answers are overdue."""

from __future__ import annotations

import time
from collections import deque

from .audio import is_louder
from .log import logger
from .replay import Replay

__all__ = ["Watch"]

_NO_AUDIO = 10.0  # seconds without any audio before a warning
_LOUD = 1000  # a peak that isn't silence, of 32768
_UNANSWERED = 20.0  # seconds of sound without an answer before a warning
_FADING = 0.3  # seconds of sound that may follow the end of a final
_LEAD = 0.5  # seconds before the first sound that aren't taken for silence


class Watch:
    """What can be told from the audio of a stream alone.

    Attributes:
        loud: Seconds of sound since the last transcript, or since the connection began.
    """

    def __init__(self, replay: Replay, sample_rate: int) -> None:
        """Begin with no audio.

        Args:
            replay: The stream's audio.
            sample_rate: Its rate in Hz.
        """
        self.loud = 0.0
        self._replay = replay
        self._rate = sample_rate
        self._started = self._looked_at = time.monotonic()
        self._looked = 0
        self._sounds: deque[tuple[int, int]] = deque()
        self._recent: deque[tuple[float, int]] = deque()
        self._sent: deque[tuple[float, int]] = deque()
        self._warned: set[str] = set()

    def restart(self) -> None:
        """Note that a new connection began."""
        self.loud = 0.0
        self._recent.clear()
        self._sent.clear()

    def look(self, now: float) -> None:
        """Look at the audio that came in since the last time."""
        since, self._looked_at = now - self._looked_at, now
        end = self._replay.end
        if end == 0:
            if now - self._started > _NO_AUDIO:
                self._warn("no audio has arrived for %.0f s: is a track subscribed?", _NO_AUDIO)
            return
        start = max(self._looked, self._replay.covered)
        self._looked = end
        if is_louder(self._replay.read(start, end - start), _LOUD):
            self.loud += since
            self._sounds.append((start, end))
        while self._sounds and self._sounds[0][1] <= self._replay.covered:
            self._sounds.popleft()
        if self.loud > _UNANSWERED:
            self._warn(
                "audio that isn't silent has gone out for %.0f s and no transcript came back: "
                "check language and vad_threshold",
                _UNANSWERED,
            )

    def unanswered(self) -> bool:
        """Whether there is sound that no final covers, and that isn't the last one's fading."""
        start = self._replay.covered + round(_FADING * self._rate)
        return is_louder(self._replay.read(start, self._replay.end - start), _LOUD)

    def forget_silence(self, now: float, cursor: int, *, patience: float, longest: float) -> None:
        """Cover audio that needn't be sent again though no final followed it.

        Silence is such audio once the server has had it for a while and reports no speech. So is
        any audio that is older than a segment can get.

        Args:
            now: The monotonic clock.
            cursor: The position up to which audio was sent.
            patience: Seconds that the server has to report speech.
            longest: Seconds after which any segment has had its answer.
        """
        for sent in (self._recent, self._sent):
            sent.append((now, cursor))
        had = _passed(self._recent, now - patience)
        quiet = min(had, self._sounds[0][0]) if self._sounds else had
        # Sound may be speech whose transcript is late; after this long it can't be.
        outdated = _passed(self._sent, now - longest)
        self._replay.cover(max(quiet - round(_LEAD * self._rate), outdated))

    def _warn(self, text: str, *args: object) -> None:
        if text not in self._warned:
            self._warned.add(text)
            logger.warning(text, *args)


def _passed(sent: deque[tuple[float, int]], before: float) -> int:
    """The position that had been sent at a time; what is older is forgotten."""
    position = 0
    while sent[0][0] < before:
        _, position = sent.popleft()
    return position
