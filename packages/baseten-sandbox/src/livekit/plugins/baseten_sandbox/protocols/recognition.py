"""From frames of audio to transcripts in order: what the streaming transcription servers share."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..engines import Transcript
from ..engines.pool import EnginePool
from ..log import logger
from ..sockets import Disconnected
from .connection import Connection
from .turns import WINDOW, TurnCounter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Recognition", "RecognitionOptions", "Utterance", "segment_message"]

RATE = 16000
_MAX_QUEUED = 10
# Models hear a word's onset better with some audio before the frame that triggered.
_PRE_ROLL = RATE // 4


@dataclass(frozen=True)
class RecognitionOptions:
    """How turns are found and what is reported.

    Attributes:
        language: ISO 639-1 code, or ``None`` to detect it.
        word_times: Whether words carry times.
        partials: Whether partial transcripts are sent.
        partial_interval: Seconds of speech between them.
        max_duration: Seconds of buffered audio after which a turn is cut.
        threshold: Speech probability that starts a turn.
        min_silence_ms: Silence that ends one.
        speech_pad_ms: Audio kept in front of the first speech frame.
    """

    language: str | None = "en"
    word_times: bool = False
    partials: bool = False
    partial_interval: float = 0.5
    max_duration: float = 30
    threshold: float = 0.5
    min_silence_ms: int = 300
    speech_pad_ms: int = 0


@dataclass(frozen=True)
class Utterance:
    """Audio to transcribe.

    Attributes:
        audio: The samples.
        offset: Samples of the stream in front of it.
        final: Whether its turn is over.
        flush: Whether the client asked for the end.
        number: Number of the last final, this one included.
    """

    audio: NDArray[np.int16]
    offset: int
    final: bool
    flush: bool = False
    number: int = 0

    @property
    def start(self) -> float:
        """Seconds from the start of the stream."""
        return self.offset / RATE

    @property
    def length(self) -> float:
        """Seconds."""
        return len(self.audio) / RATE


def segment_message(
    transcript: Transcript, start: float, end: float, *, word_times: bool
) -> dict[str, Any]:
    """One segment of a transcription message; times in seconds of the stream."""
    segment: dict[str, Any] = {
        "text": transcript.text,
        "log_prob": transcript.log_prob,
        "start_time": round(start, 3),
        "end_time": round(end, 3),
        "speaker": None,
        "speaker_confidence": None,
        "possible_hallucination": False,
    }
    if word_times:
        segment["word_timestamps"] = [
            {
                "word": word.text,
                "start_time": round(start + word.start, 3),
                "end_time": round(start + word.end, 3),
                "prob": word.probability,
                "speaker": None,
            }
            for word in transcript.words
        ]
    return segment


class Recognition:
    """Cuts one stream into turns and transcribes them, one after the other.

    Args:
        socket: Where messages go.
        engines: The models.
        options: See `RecognitionOptions`.
        message: Makes a transcription message.
        failed: Makes the message that says that a transcription failed.
    """

    def __init__(
        self,
        socket: Connection,
        engines: EnginePool,
        options: RecognitionOptions,
        *,
        message: Callable[[Utterance, Transcript], Any],
        failed: Callable[[], Any],
    ) -> None:
        self._socket = socket
        self._engines = engines
        self._options = options
        self._message = message
        self._failed = failed
        self._turns = TurnCounter(
            engines.new_detector(),
            threshold=options.threshold,
            min_silence_ms=options.min_silence_ms,
        )
        self._frames: deque[NDArray[np.int16]] = deque()
        self._buffered = 0
        self._dropped = 0
        self._speech_from = 0
        self._since_partial = 0
        self._number = 0
        self._jobs: asyncio.Queue[Utterance | dict[str, Any]] = asyncio.Queue()
        self._pending = 0
        self._final_due = asyncio.Event()
        # Baseten's runtime drops partials when more than 10 wait. A laptop is slower than a GPU:
        # there a partial is dropped when anything waits, or the final would come last of all.
        self._most_pending = _MAX_QUEUED if engines.instant else 0

    async def serve(self, listen: Callable[[], Awaitable[None]]) -> None:
        """Transcribe while `listen` runs, and what is left after it."""
        worker = asyncio.create_task(self._work())
        try:
            await listen()
            await self._jobs.join()
        finally:
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError, Disconnected):
                await worker

    def hear(self, frame: NDArray[np.int16]) -> None:
        """Take one frame of 512 samples."""
        options = self._options
        self._frames.append(frame)
        self._buffered += WINDOW
        if self._buffered > options.max_duration * RATE:
            # Such a frame skips the VAD. Audio without speech is dropped without a word.
            if self._turns.speaking:
                self._finish(flush=False)
            self._forget()
            return
        event = self._turns.feed(frame)
        if event == "start":
            pad = RATE * options.speech_pad_ms // 1000
            self._speech_from = max(0, self._buffered - WINDOW - pad - _PRE_ROLL)
            self._since_partial = 0
        elif event == "end":
            self._finish(flush=False)
            self._forget()
        elif self._turns.speaking and options.partials:
            self._since_partial += WINDOW
            if self._since_partial >= options.partial_interval * RATE:
                self._since_partial = 0
                if self._pending <= self._most_pending:
                    self._queue(self._utterance(final=False))

    def flush(self) -> bool:
        """End the turn in progress now.

        Returns:
            Whether there was one.
        """
        speaking = self._turns.speaking
        if speaking:
            self._finish(flush=True)
            self._turns.reset()
        self._forget()
        return speaking

    def say(self, message: dict[str, Any]) -> None:
        """Send a message after all transcripts that are under way."""
        self._queue(message)

    def empty_final(self) -> None:
        """Queue a final of nothing, as the answer to a flush of nothing."""
        import numpy as np

        self._number += 1
        audio = np.zeros(0, dtype=np.int16)
        self._queue(Utterance(audio, self._dropped, True, True, self._number))

    def _queue(self, job: Utterance | dict[str, Any]) -> None:
        self._pending += 1
        self._jobs.put_nowait(job)

    def _utterance(self, *, final: bool, flush: bool = False) -> Utterance:
        import numpy as np

        audio = np.concatenate(self._frames)[self._speech_from :]
        return Utterance(audio, self._dropped + self._speech_from, final, flush, self._number)

    def _finish(self, *, flush: bool) -> None:
        self._number += 1
        self._final_due.set()
        self._queue(self._utterance(final=True, flush=flush))

    def _forget(self) -> None:
        self._dropped += self._buffered
        self._frames.clear()
        self._buffered = 0
        self._speech_from = 0
        self._since_partial = 0

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                if not isinstance(job, Utterance):
                    await self._socket.send_json(job)
                elif job.final:
                    self._final_due.clear()
                    await self._socket.send_json(await self._answer(job))
                else:
                    await self._try_partial(job)
            except Disconnected:
                return
            finally:
                self._pending -= 1
                self._jobs.task_done()

    async def _try_partial(self, utterance: Utterance) -> None:
        if self._engines.instant:
            await self._socket.send_json(await self._answer(utterance))
            return
        # Nobody wants a partial any more once its turn is over, and the final shouldn't wait for it.
        answer = asyncio.create_task(self._answer(utterance))
        due = asyncio.create_task(self._final_due.wait())
        try:
            await asyncio.wait({answer, due}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                await self._socket.send_json(answer.result())
        finally:
            for task in (answer, due):
                task.cancel()
            await asyncio.gather(answer, due, return_exceptions=True)

    async def _answer(self, utterance: Utterance) -> Any:
        import numpy as np

        options = self._options
        if not len(utterance.audio):
            return self._message(utterance, Transcript("", (), 0.0, options.language or "en", 1.0))
        try:
            transcript = await self._engines.transcribe(
                utterance.audio.astype(np.float32) / 32768.0,
                language=options.language,
                word_times=options.word_times,
                urgent=utterance.final,
            )
        except Exception:
            # A failed transcription loses its turn and no more.
            logger.exception("the transcription model failed")
            return self._failed()
        return self._message(utterance, transcript)
