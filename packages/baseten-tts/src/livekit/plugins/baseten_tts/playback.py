from __future__ import annotations

import asyncio

from livekit import rtc
from livekit.agents import APIError, tts
from livekit.agents.types import NOT_GIVEN, TimedString
from livekit.plugins.baseten_common import errors

from .protocols import Audio, Spoken

__all__ = ["Playback"]

_SILENCE = 0.02  # seconds
_SHORT, _LONG = (
    0.2,
    1.0,
)  # seconds of a frame: LiveKit's own, and what its output cuts up in no time
_MARGIN = 0.1  # seconds of audio at the least that the listener has left when more is handed on
_TURNS = 100  # of the event loop, for the emitter to hand on what it holds


class Playback:
    """Hands audio on to LiveKit at the rate it was promised."""

    def __init__(
        self, emitter: tts.AudioEmitter, *, request_id: str, sample_rate: int, stream: bool
    ) -> None:
        """Open the one segment of the utterance.

        Args:
            emitter: LiveKit's side.
            request_id: New for each attempt, so that a listener can tell them apart.
            sample_rate: In Hz, what the TTS has declared.
            stream: Whether the emitter belongs to a ``SynthesizeStream``.
        """
        self._emitter = emitter
        self._rate = sample_rate
        self._input_rate = sample_rate
        self._resampler: rtc.AudioResampler | None = None
        self._odd = b""
        self._samples = 0
        self._piece_start = 0.0
        self._loop = asyncio.get_running_loop()
        self._held = bytearray()
        self._release: asyncio.TimerHandle | None = None
        self._plays_until = 0.0  # at the earliest, by the loop's clock
        emitter.initialize(
            request_id=request_id,
            sample_rate=sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
            stream=stream,
        )
        if stream:
            emitter.start_segment(segment_id=request_id)

    @property
    def begun(self) -> bool:
        """Whether any audio was handed on."""
        return self._samples > 0

    def note_request(self, provider_id: str | None) -> None:
        """Record the server's own id of the request in the trace."""
        note = getattr(self._emitter, "_note_provider_request_id", None)
        if provider_id and note:
            note(provider_id)

    def begin_piece(self) -> None:
        """That what follows counts its time anew, and starts with a whole sample."""
        self._odd = b""
        self._piece_start = self._samples / self._rate

    def end_piece(self) -> None:
        """That the piece is complete, so nothing of it waits for the next."""
        self._drain()

    def play(self, audio: Audio) -> None:
        """Audio of any rate; a sample cut in two is put together."""
        if audio.sample_rate != self._input_rate:
            self._drain()
            self._input_rate = audio.sample_rate
            if audio.sample_rate != self._rate:
                self._resampler = rtc.AudioResampler(
                    audio.sample_rate, self._rate, quality=rtc.AudioResamplerQuality.HIGH
                )
        data = audio.data
        if self._odd or len(data) % 2:
            data = self._odd + data
            whole = len(data) - len(data) % 2
            data, self._odd = data[:whole], data[whole:]
        if self._resampler is None:
            self._hand_on(data)
        elif data:
            for frame in self._resampler.push(bytearray(data)):
                self._hand_on(bytes(frame.data))

    def caption(self, spoken: Spoken) -> None:
        """A piece of the text with its time."""
        self._hand_on_held()
        begin = self._piece_start
        end = NOT_GIVEN if spoken.end is None else begin + spoken.end
        self._emitter.push_timed_transcript(
            TimedString(spoken.text, start_time=begin + spoken.start, end_time=end)
        )

    def be_silent(self) -> None:
        """Hand on a moment of silence, for a text in which there is nothing to say."""
        self._hand_on(bytes(2 * int(self._rate * _SILENCE)))

    def finish(self) -> None:
        """Hand on what is still held."""
        self._drain()
        self._hand_on_held()
        self._emitter.flush()

    def stop(self) -> None:
        """Hand on nothing more. What is held is dropped, unless :meth:`finish` came before."""
        if self._release is not None:
            self._release.cancel()
            self._release = None
        self._held.clear()

    async def give_up(self, error: APIError) -> APIError:
        """The error to raise, after what was received has been handed on."""
        if not self.begun:
            return error
        self.finish()
        for _ in range(_TURNS):
            if round(self._emitter.pushed_duration() * self._rate) >= self._samples:
                break
            await asyncio.sleep(0)
        return errors.handed_on(error)

    def _drain(self) -> None:
        if self._resampler is not None:
            for frame in self._resampler.flush():
                self._hand_on(bytes(frame.data))
        self._resampler = None
        self._input_rate = self._rate
        self._odd = b""

    def _hand_on(self, data: bytes) -> None:
        if not data:
            return
        now = self._loop.time()
        left = self._plays_until - now
        size = len(data)
        self._samples += size // 2
        self._plays_until = (now if left < 0 else self._plays_until) + size / (2 * self._rate)
        if left < _MARGIN and not self._held:
            self._emit(data)
            return
        # The listener has enough, and each frame costs several turns of the loop, however long it
        # is. Never more than half of what the listener has is held.
        self._held += data
        if len(self._held) >= 2 * self._rate * min(max(_SHORT, left / 2), _LONG):
            self._hand_on_held()
        elif self._release is None:
            self._release = self._loop.call_later(left - _MARGIN, self._hand_on_held)

    def _hand_on_held(self) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None
        if self._held:
            held, self._held = self._held, bytearray()
            self._emit(held)

    def _emit(self, data: bytes | bytearray) -> None:
        # In frames: push() would cut it up anew, and keep a rest that isn't enough for another.
        longest = 2 * int(self._rate * _LONG)
        for at in range(0, len(data), longest):
            piece = bytearray(data[at : at + longest])  # can be written to, as LiveKit's own can
            self._emitter.push_frame(rtc.AudioFrame(piece, self._rate, 1, len(piece) // 2))
