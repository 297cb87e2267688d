"""The browser as LiveKit's audio input and output.

Needs livekit-agents, so it is imported only when a conversation begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from livekit import rtc
from livekit.agents.voice import io

from .link import Link

__all__ = ["SPEAKER_RATE", "BrowserMicrophone", "BrowserSpeaker", "BrowserWords"]

SPEAKER_RATE = 24000
"""Hz of the audio sent to the browser; both speech protocols speak at this rate."""

_BACKLOG = 250  # messages of 20 ms: 5 s, far more than a session that keeps up ever leaves
_CLEAR_ANSWER = 0.5
_MOMENT = 0.02
_LATE = 3.0


class BrowserMicrophone(io.AudioInput):
    """What the browser hears.

    Args:
        sample_rate: Hz of the PCM s16le that the browser sends; who listens resamples it.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__(label="browser microphone")
        self._rate = sample_rate
        self._frames: asyncio.Queue[rtc.AudioFrame | None] = asyncio.Queue()

    def push(self, pcm: bytes) -> None:
        """Take one message of the browser; an odd last byte is left out."""
        samples = len(pcm) // 2
        if not samples:
            return
        if self._frames.qsize() >= _BACKLOG:
            self._frames.get_nowait()
        self._frames.put_nowait(rtc.AudioFrame(pcm[: samples * 2], self._rate, 1, samples))

    def end(self) -> None:
        """There will be no more."""
        self._frames.put_nowait(None)

    async def __anext__(self) -> rtc.AudioFrame:
        frame = await self._frames.get()
        if frame is None:
            raise StopAsyncIteration
        return frame


@dataclass
class _Segment:
    """One stretch of speech on its way to the listener.

    Attributes:
        number: Its number, as the browser is told.
        pushed: Seconds of audio handed in.
        started_at: Monotonic time when it began to sound.
        heard: Seconds that sounded in all; ``None`` while it may still sound.
        ended: Whether all its audio is handed in.
        stopped_at: Seconds that sounded when the browser fell silent of itself, before the
            framework cut it: its listener wished so, or left.
        cut: Whether that is so.
        cleared: Whether the framework cut it.
        watch: Runs when the browser's word is overdue.
    """

    number: int
    pushed: float = 0.0
    started_at: float | None = None
    heard: float | None = None
    ended: bool = False
    stopped_at: float | None = None
    cut: bool = False
    cleared: bool = False
    watch: asyncio.TimerHandle | None = field(default=None, repr=False)

    def sounded(self) -> float:
        """Seconds that have sounded by now, as far as is known."""
        if self.stopped_at is not None:
            return self.stopped_at
        if self.started_at is None:
            return 0.0
        return min(time.monotonic() - self.started_at, self.pushed)


class BrowserSpeaker(io.AudioOutput):
    """What the browser plays.

    The browser says when a segment begins to sound and how far it got; when that word doesn't come
    in time (a suspended tab, a lost connection) the clock stands in for it, so that no turn waits
    for ever.

    Args:
        link: The way to the browser.
        on_first_audio: Called as each segment's first audio leaves.
    """

    def __init__(self, link: Link, *, on_first_audio: Callable[[], None]) -> None:
        super().__init__(
            label="browser speaker",
            capabilities=io.AudioOutputCapabilities(pause=True),
            sample_rate=SPEAKER_RATE,
        )
        self._link = link
        self._on_first_audio = on_first_audio
        self._numbers = 0
        self._segment: _Segment | None = None
        self._open: dict[int, _Segment] = {}
        self._paused = False
        self._gone = False

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Send audio to the browser."""
        await super().capture_frame(frame)
        segment = self._segment
        if segment is None:
            segment = self._segment = _Segment(self._numbers)
            self._numbers += 1
            self._open[segment.number] = segment
            if self._gone:
                self._stop(segment)
            self._link.send("speech", segment=segment.number)
            self._on_first_audio()
        if segment.cleared or self._gone:
            return
        segment.pushed += frame.duration
        self._link.send_audio(bytes(frame.data))

    def flush(self) -> None:
        """Mark the end of the segment."""
        super().flush()
        segment, self._segment = self._segment, None
        if segment is None:
            return
        segment.ended = True
        self._link.send("speech_end", segment=segment.number)
        if segment.heard is not None:
            self._silenced(segment, segment.heard)
        elif segment.watch is None:
            left = segment.pushed - segment.sounded() + _LATE
            self._watch(segment, left if segment.stopped_at is None else _MOMENT)

    def clear_buffer(self) -> None:
        """Silence the browser at once."""
        if not self._open:
            return
        self._link.drop_audio()
        self._link.send("clear")
        for segment in list(self._open.values()):
            segment.cleared = True
            if segment.heard is None:
                # Not even an answer that is known is told at once: the framework clears the
                # audio a moment before it ends the words.
                known = segment.stopped_at is not None
                self._watch(segment, _MOMENT if known else _CLEAR_ANSWER)

    def pause(self) -> None:
        """Hold the browser's playback."""
        super().pause()
        self._paused = True
        self._link.send("pause")

    def resume(self) -> None:
        """Let it go on."""
        super().resume()
        if self._paused:
            self._paused = False
            self._link.send("resume")

    def started(self, number: int) -> None:
        """The browser began to play a segment."""
        segment = self._open.get(number)
        if segment is None or segment.started_at is not None:
            return
        segment.started_at = time.monotonic()
        self.on_playback_started(created_at=time.time())

    def finished(self, number: int, position: float) -> None:
        """The browser is done with a segment, heard to its end or cut."""
        segment = self._open.get(number)
        if segment is None or segment.heard is not None:
            return
        position = min(max(position, 0.0), segment.pushed)
        if segment.cut and not segment.cleared:
            # The framework is about to stop what still makes audio and words for it; to hear of
            # the end before would confuse it.
            segment.stopped_at = position
            self._watch(segment, _CLEAR_ANSWER)
        else:
            self._silenced(segment, position)

    def cut(self) -> None:
        """The listener silenced the browser, and the framework is told to stop."""
        for segment in self._open.values():
            segment.cut = True

    def end(self) -> None:
        """The browser is gone: nothing plays any more."""
        self._gone = True
        for segment in self._open.values():
            self._stop(segment)
            self._watch(segment, _CLEAR_ANSWER)

    @staticmethod
    def _stop(segment: _Segment) -> None:
        segment.stopped_at, segment.cut = segment.sounded(), True

    def _watch(self, segment: _Segment, seconds: float) -> None:
        if segment.watch is not None:
            segment.watch.cancel()
        loop = asyncio.get_running_loop()
        segment.watch = loop.call_later(seconds, self._overdue, segment)

    def _overdue(self, segment: _Segment) -> None:
        if self._paused and not segment.cleared:
            self._watch(segment, _LATE)
        else:
            self._silenced(segment, segment.sounded())

    def _silenced(self, segment: _Segment, heard: float) -> None:
        """Nothing more of it will sound; the framework hears so once it has marked the end."""
        segment.heard = heard
        if segment.watch is not None:
            segment.watch.cancel()
            segment.watch = None
        if segment.ended and self._open.pop(segment.number, None) is not None:
            interrupted = segment.cleared or segment.cut
            self.on_playback_finished(playback_position=heard, interrupted=interrupted)


class BrowserWords(io.TextOutput):
    """The agent's words, as LiveKit's synchronizer hands them out along with the playback.

    Args:
        link: The way to the browser.
    """

    def __init__(self, link: Link) -> None:
        super().__init__(label="browser words", next_in_chain=None)
        self._link = link

    async def capture_text(self, text: str) -> None:
        """Show a few words."""
        self._link.send("words", text=str(text))

    def flush(self) -> None:
        """End the utterance."""
        self._link.send("words_end")
