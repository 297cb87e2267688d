"""Streaming Whisper: metadata, then frames of 512 samples; finals at the end of each turn.

https://docs.baseten.co/reference/inference-api/predict-endpoints/streaming-transcription-api
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from ..deployments import Deployment
from ..engines import Transcript
from ..engines.pool import EnginePool
from ..sockets import Rejected
from .connection import Connection
from .recognition import Recognition, Utterance, segment_message
from .schema import Invalid
from .telephony import decode_mulaw, double
from .turns import WINDOW
from .whisper_schema import Metadata, parse_metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WhisperServer"]


class WhisperServer:
    """Serves streaming Whisper sessions."""

    def __init__(self, engines: EnginePool) -> None:
        self._engines = engines

    async def __call__(self, socket: Connection, deployment: Deployment) -> None:
        """Serve one session until the client leaves."""
        try:
            metadata = parse_metadata(
                json.loads(await socket.receive_text()), unknown=deployment.unknown_keys
            )
        except (Invalid, ValueError):
            raise Rejected from None
        await _Session(socket, metadata, self._engines).run()


class _Session:
    def __init__(self, socket: Connection, metadata: Metadata, engines: EnginePool) -> None:
        self._socket = socket
        self._metadata = metadata
        self._recognition = Recognition(
            socket,
            engines,
            metadata.recognition,
            message=self._transcription,
            failed=lambda: _error("Transcription failed", "TRANSCRIPTION_ERROR", recoverable=True),
        )

    async def run(self) -> None:
        await self._recognition.serve(self._listen)

    async def _listen(self) -> None:
        while True:
            data = await self._socket.receive()
            if isinstance(data, str):
                await self._control(data)
                continue
            try:
                frame = self._decode(data)
            except Invalid as error:
                await self._socket.send_json(
                    _error(str(error), "AUDIO_PROCESSING_ERROR", recoverable=False)
                )
                return
            self._recognition.hear(frame)

    def _decode(self, data: bytes) -> NDArray[np.int16]:
        import numpy as np

        if self._metadata.encoding == "pcm_mulaw":
            # 8 kHz, doubled for the VAD: so 256 samples, one byte each, make its 512. (Baseten's
            # runtime then transcribes the undecoded bytes; here they are heard as they sound.)
            samples = double(decode_mulaw(data))
        else:
            if len(data) % 2:
                raise Invalid("buffer size must be a multiple of element size")
            samples = np.frombuffer(data, dtype="<i2").astype(np.int16)
            if self._metadata.vad_rate == 8000:
                samples = double(samples)
        if len(samples) != WINDOW:
            raise Invalid(
                f"Provided number of samples is {len(samples)} "
                "(Supported values: 256 for 8000 sample rate, 512 for 16000)"
            )
        return samples

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
            self._recognition.flush()
            self._recognition.say({"type": "end_audio", "body": {"status": "finished"}})
        elif kind == "health_check":
            body: dict[str, Any] = {"healthy": True}
            asked = message.get("body")
            if isinstance(asked, dict) and asked.get("get_partial_interval"):
                body["partial_interval"] = self._metadata.recognition.partial_interval
            await self._socket.send_json(
                {"type": "health_check", "body": body, "timestamp": time.time()}
            )
        else:
            await self._socket.send_json(
                _error("Failed to validate text message", "WEBSOCKET_ERROR", recoverable=True)
            )

    def _transcription(self, utterance: Utterance, transcript: Transcript) -> dict[str, Any]:
        metadata = self._metadata
        segments = []
        if transcript.text and not metadata.detect_only:
            segments.append(
                segment_message(
                    transcript,
                    utterance.start,
                    utterance.start + utterance.length,
                    word_times=metadata.recognition.word_times,
                )
            )
        message: dict[str, Any] = {
            "type": "transcription",
            "is_final": utterance.final,
            "transcription_num": utterance.number,
            "language_code": transcript.language,
            "language_prob": transcript.language_probability,
            "audio_length_sec": round(utterance.length, 3),
            "segments": segments,
            "diarization": [],
            "timing_info": {} if metadata.timing_info else None,
        }
        if utterance.flush:
            message["is_end_of_audio_flush"] = True
        return message


def _error(message: str, kind: str, *, recoverable: bool) -> dict[str, Any]:
    return {
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
