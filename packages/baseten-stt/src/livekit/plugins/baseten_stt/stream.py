from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from livekit import rtc
from livekit.agents import APIConnectionError, APIConnectOptions, APIError, stt
from livekit.agents.types import NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given

from .audio import downmix
from .dialer import Dialer
from .languages import parse_language
from .options import STTOptions
from .protocols import PROTOCOLS
from .recognition import Recognition

if TYPE_CHECKING:
    from .stt import STT

__all__ = ["SpeechStream"]


class SpeechStream(stt.SpeechStream):
    """One stream of audio and the events that it makes. Get it from :meth:`.STT.stream`.

    Frames may be of any length, rate and number of channels (they are mixed down). Times in events
    are seconds from the start of the stream's audio, plus ``start_time_offset``, whatever happens
    to the connection.
    """

    def __init__(
        self, *, stt: STT, options: STTOptions, dialer: Dialer, conn_options: APIConnectOptions
    ) -> None:
        """Begin to connect.

        Args:
            stt: The STT that the events are reported to.
            options: What to open connections with.
            dialer: Opens them.
            conn_options: Retries and timeouts.
        """
        super().__init__(
            stt=stt,
            conn_options=conn_options,
            sample_rate=PROTOCOLS[options.model](options).sample_rate,
        )
        ref = weakref.ref(self)
        self._recognition = Recognition(
            options=options,
            dialer=dialer,
            emit=_weakly(ref, lambda stream, event: stream._send_event(event)),
            acquired=lambda seconds, reused: _report(ref, seconds, reused),
            timeout=conn_options.timeout,
        )
        self._input_ch = self._recognition.intake  # type: ignore[assignment]

    @property
    def start_time_offset(self) -> float:
        """Seconds that are added to every time in events."""
        return self._recognition.offset

    @start_time_offset.setter
    def start_time_offset(self, value: float) -> None:
        if value < 0:
            raise ValueError("start_time_offset must not be negative")
        # The framework adds the age of failed connections to its own copy. Here times are counted
        # on the audio's clock, which goes on across connections.
        self._recognition.offset = value

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        """Take audio of any length and rate; several channels are mixed down to one.

        Raises:
            RuntimeError: after :meth:`end_input` or :meth:`aclose`.
            ValueError: the rate differs from that of the frames before.
        """
        super().push_frame(downmix(frame))

    def update_options(
        self,
        *,
        vad_threshold: NotGivenOr[float] = NOT_GIVEN,
        vad_min_silence_duration_ms: NotGivenOr[int] = NOT_GIVEN,
        vad_speech_pad_ms: NotGivenOr[int] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        language_options: NotGivenOr[list[str]] = NOT_GIVEN,
        prompt: NotGivenOr[str] = NOT_GIVEN,
        keyterms: NotGivenOr[list[str]] = NOT_GIVEN,
        buffer_size_seconds: NotGivenOr[float] = NOT_GIVEN,
    ) -> None:
        """Change options from the next pause in speech on; see :meth:`.STT.update_options`."""
        self._recognition.reconfigure(
            changed(
                self._recognition.options,
                vad_threshold=vad_threshold,
                vad_min_silence_duration_ms=vad_min_silence_duration_ms,
                vad_speech_pad_ms=vad_speech_pad_ms,
                language=language,
                language_options=language_options,
                prompt=prompt,
                keyterms=keyterms,
            )
        )

    def _apply(self, change: Callable[[STTOptions], STTOptions]) -> None:
        self._recognition.reconfigure(change(self._recognition.options))

    def _send_event(self, event: stt.SpeechEvent) -> None:
        if not self._event_ch.closed:
            self._event_ch.send_nowait(event)

    async def _main_task(self) -> None:
        try:
            await super()._main_task()
        finally:
            self._recognition.finish()

    async def _run(self) -> None:
        # Sockets and timers, which the loop holds, lead to the attempt, but only weakly on to this
        # coroutine and with it to the stream: so a stream that is dropped is freed.
        attempt = asyncio.create_task(self._recognition.attempt(), name="baseten.stt.attempt")
        ended = asyncio.get_running_loop().create_future()
        attempt.add_done_callback(_waker(weakref.ref(ended)))
        leaving = weakref.finalize(self, _cancel, attempt)
        try:
            await ended
        except asyncio.CancelledError:
            attempt.cancel()
            await asyncio.wait([attempt])
            if not attempt.cancelled():
                attempt.exception()
            raise
        leaving.detach()
        try:
            attempt.result()
        except APIError as e:
            # The framework starts its count again after an attempt as long as its timeout, which
            # every timeout is: left to it, a deployment that never answers is tried for ever.
            failures = self._recognition.failures
            if e.retryable and failures > self._conn_options.max_retry > 0:
                raise APIConnectionError(
                    f"{e.message} (after {failures} attempts)", retryable=False
                ) from e
            raise


def changed(
    options: STTOptions,
    *,
    vad_threshold: NotGivenOr[float] = NOT_GIVEN,
    vad_min_silence_duration_ms: NotGivenOr[int] = NOT_GIVEN,
    vad_speech_pad_ms: NotGivenOr[int] = NOT_GIVEN,
    language: NotGivenOr[str] = NOT_GIVEN,
    language_options: NotGivenOr[list[str]] = NOT_GIVEN,
    prompt: NotGivenOr[str] = NOT_GIVEN,
    keyterms: NotGivenOr[list[str]] = NOT_GIVEN,
) -> STTOptions:
    """Options with what is given changed.

    Raises:
        ValueError: a value is out of its range.
    """
    values: dict[str, object] = {}
    if is_given(vad_threshold):
        values["vad_threshold"] = vad_threshold
    if is_given(vad_min_silence_duration_ms):
        values["vad_min_silence_duration_ms"] = vad_min_silence_duration_ms
    if is_given(vad_speech_pad_ms):
        values["vad_speech_pad_ms"] = vad_speech_pad_ms
    if is_given(language):
        values["language"] = parse_language(language)
    if is_given(language_options):
        values["language_options"] = tuple(parse_language(code) for code in language_options)
    if is_given(prompt):
        values["prompt"] = prompt
    if is_given(keyterms):
        values["keyterms"] = tuple(keyterms)
    return replace(options, **values)  # type: ignore[arg-type]


def _weakly(
    ref: weakref.ref[SpeechStream], act: Callable[[SpeechStream, stt.SpeechEvent], None]
) -> Callable[[stt.SpeechEvent], None]:
    def emit(event: stt.SpeechEvent) -> None:
        stream = ref()
        if stream is not None:
            act(stream, event)

    return emit


def _report(ref: weakref.ref[SpeechStream], seconds: float, reused: bool) -> None:
    stream = ref()
    if stream is not None:
        stream._report_connection_acquired(seconds, reused)


def _waker(
    ref: weakref.ref[asyncio.Future[None]],
) -> Callable[[asyncio.Task[None]], None]:
    def wake(attempt: asyncio.Task[None]) -> None:
        ended = ref()
        if ended is not None and not ended.done():
            ended.set_result(None)
        elif not attempt.cancelled():
            attempt.exception()  # nobody else will ask

    return wake


def _cancel(attempt: asyncio.Task[None]) -> None:
    # May run on any thread, and after the loop's end.
    with contextlib.suppress(RuntimeError):
        attempt.get_loop().call_soon_threadsafe(attempt.cancel)
