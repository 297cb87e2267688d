"""Streaming Whisper: metadata, then frames of 512 samples; finals at the end of each turn.

https://docs.baseten.co/reference/inference-api/predict-endpoints/streaming-transcription-api
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..deployments import Deployment
from ..engines import Transcript
from ..engines.pool import EnginePool
from ..sockets import Disconnected, Rejected, Socket
from .schema import Invalid
from .turns import WINDOW, TurnCounter
from .whisper_schema import Metadata, parse_metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WhisperServer", "segment_message"]

_RATE = 16000
_MAX_QUEUED = 10
# Models hear a word's onset better with some audio before the frame that triggered.
_PRE_ROLL = _RATE // 4


def segment_message(transcript: Transcript, offset: float, end: float, word_times: bool) -> Any:
    """One segment of a transcription message.

    Args:
        transcript: What was heard.
        offset: Seconds from the start of the stream to the start of its audio.
        end: Seconds from the start of the stream to the end of its audio.
        word_times: Whether to list the words.
    """
    segment: dict[str, Any] = {
        "text": transcript.text,
        "log_prob": transcript.log_prob,
        "start_time": round(offset, 3),
        "end_time": round(end, 3),
        "speaker": None,
        "speaker_confidence": None,
        "possible_hallucination": False,
    }
    if word_times:
        segment["word_timestamps"] = [
            {
                "word": word.text,
                "start_time": round(offset + word.start, 3),
                "end_time": round(offset + word.end, 3),
                "prob": word.probability,
                "speaker": None,
            }
            for word in transcript.words
        ]
    return segment


@dataclass(frozen=True)
class _Job:
    audio: NDArray[np.int16]
    offset: int
    final: bool
    flush: bool = False


class WhisperServer:
    """Serves streaming Whisper sessions."""

    def __init__(self, engines: EnginePool) -> None:
        self._engines = engines

    async def __call__(self, socket: Socket, deployment: Deployment) -> None:
        """Serve one session until the client leaves."""
        try:
            metadata = parse_metadata(json.loads(await socket.receive_text()))
        except (Invalid, ValueError):
            raise Rejected from None
        session = _Session(socket, metadata, self._engines)
        worker = asyncio.create_task(session.work())
        try:
            await session.listen()
            await session.drain()
        finally:
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError, Disconnected):
                await worker


class _Session:
    def __init__(self, socket: Socket, metadata: Metadata, engines: EnginePool) -> None:
        self._socket = socket
        self._metadata = metadata
        self._engines = engines
        self._turns = TurnCounter(
            engines.new_detector(),
            threshold=metadata.threshold,
            min_silence_ms=metadata.min_silence_ms,
        )
        self._frames: deque[NDArray[np.int16]] = deque()
        self._buffered = 0
        self._dropped = 0
        self._speech_from = 0
        self._since_partial = 0
        self._number = 0
        self._jobs: asyncio.Queue[_Job | str] = asyncio.Queue()

    async def listen(self) -> None:
        while True:
            data = await self._socket.receive()
            if isinstance(data, str):
                await self._control(data)
                continue
            try:
                frame = self._decode(data)
            except Invalid as error:
                await self._error(str(error), "AUDIO_PROCESSING_ERROR", recoverable=False)
                return
            self._hear(frame)

    async def drain(self) -> None:
        await self._jobs.join()

    def _decode(self, data: bytes) -> NDArray[np.int16]:
        import numpy as np

        if self._metadata.encoding == "pcm_mulaw":
            # 8 kHz, doubled for the VAD: so 256 samples, one byte each, make its 512. (Baseten's
            # runtime then transcribes the undecoded bytes; here they are heard as they sound.)
            samples = _double(_mulaw(np.frombuffer(data, dtype=np.uint8)))
        else:
            if len(data) % 2:
                raise Invalid("buffer size must be a multiple of element size")
            samples = np.frombuffer(data, dtype="<i2").astype(np.int16)
            if self._metadata.vad_rate == 8000:
                samples = _double(samples)
        if len(samples) != WINDOW:
            raise Invalid(
                f"Provided number of samples is {len(samples)} "
                "(Supported values: 256 for 8000 sample rate, 512 for 16000)"
            )
        return samples

    def _hear(self, frame: NDArray[np.int16]) -> None:
        self._frames.append(frame)
        self._buffered += WINDOW
        if self._buffered > self._metadata.max_duration * _RATE:
            if self._turns.speaking:
                self._finish(flush=False)
            self._forget()
            return
        event = self._turns.feed(frame)
        if event == "start":
            pad = _RATE * self._metadata.speech_pad_ms // 1000
            self._speech_from = max(0, self._buffered - WINDOW - pad - _PRE_ROLL)
            self._since_partial = 0
        elif event == "end":
            self._finish(flush=False)
            self._forget()
        elif self._turns.speaking and self._metadata.partials:
            self._since_partial += WINDOW
            if self._since_partial >= self._metadata.partial_interval * _RATE:
                self._since_partial = 0
                if self._jobs.qsize() <= _MAX_QUEUED:
                    self._jobs.put_nowait(self._job(final=False))

    def _job(self, *, final: bool, flush: bool = False) -> _Job:
        import numpy as np

        audio = np.concatenate(self._frames)[self._speech_from :]
        return _Job(audio, self._dropped + self._speech_from, final, flush)

    def _finish(self, *, flush: bool) -> None:
        self._jobs.put_nowait(self._job(final=True, flush=flush))

    def _forget(self) -> None:
        self._dropped += self._buffered
        self._frames.clear()
        self._buffered = 0
        self._speech_from = 0
        self._since_partial = 0

    async def _control(self, data: str) -> None:
        try:
            message = json.loads(data)
        except ValueError:
            message = None
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "end_audio":
            await self._socket.send_json(
                {
                    "type": "end_audio",
                    "body": {"status": "acknowledged"},
                    "trace_id": message.get("trace_id"),
                    "timestamp": None,
                }
            )
            if self._turns.speaking:
                self._finish(flush=True)
                self._turns.reset()
            self._forget()
            self._jobs.put_nowait("finished")
        elif kind == "health_check":
            body: dict[str, Any] = {"healthy": True}
            if (message.get("body") or {}).get("get_partial_interval"):
                body["partial_interval"] = self._metadata.partial_interval
            await self._socket.send_json(
                {"type": "health_check", "body": body, "timestamp": time.time()}
            )
        else:
            await self._error(
                "Failed to validate text message", "WEBSOCKET_ERROR", recoverable=True
            )

    async def _error(self, message: str, kind: str, *, recoverable: bool) -> None:
        await self._socket.send_json(
            {
                "type": "error",
                "body": {
                    "error": message,
                    "message": message,
                    "error_type": kind,
                    "recoverable": recoverable,
                    "stream_id": None,
                    "timestamp": time.time(),
                },
            }
        )

    async def work(self) -> None:
        while True:
            job = await self._jobs.get()
            try:
                if isinstance(job, str):
                    await self._socket.send_json({"type": "end_audio", "body": {"status": job}})
                else:
                    await self._transcribe(job)
            except Disconnected:
                return
            finally:
                self._jobs.task_done()

    async def _transcribe(self, job: _Job) -> None:
        import numpy as np

        metadata = self._metadata
        try:
            transcript = await self._engines.transcribe(
                job.audio.astype(np.float32) / 32768.0,
                language=metadata.language,
                word_times=metadata.word_times,
            )
        except Exception:
            # A failed job loses its turn and no more.
            await self._error("Transcription failed", "TRANSCRIPTION_ERROR", recoverable=True)
            return
        if job.final:
            self._number += 1
        start = job.offset / _RATE
        length = len(job.audio) / _RATE
        segments = []
        if transcript.text and not metadata.detect_only:
            segments.append(segment_message(transcript, start, start + length, metadata.word_times))
        message: dict[str, Any] = {
            "type": "transcription",
            "is_final": job.final,
            "transcription_num": self._number,
            "language_code": transcript.language,
            "language_prob": transcript.language_probability,
            "audio_length_sec": round(length, 3),
            "segments": segments,
            "diarization": [],
            "timing_info": {} if metadata.timing_info else None,
        }
        if job.flush:
            message["is_end_of_audio_flush"] = True
        await self._socket.send_json(message)


def _double(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    import numpy as np

    if not len(samples):
        return samples
    last = np.append(samples[1:], samples[-1]).astype(np.int32)
    doubled = np.empty(2 * len(samples), dtype=np.int16)
    doubled[::2] = samples
    doubled[1::2] = (samples.astype(np.int32) + last) // 2
    return doubled


def _mulaw(data: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Decode G.711 µ-law."""
    import numpy as np

    code = (~data).astype(np.int32)
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)
