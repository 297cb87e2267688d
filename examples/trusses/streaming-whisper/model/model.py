"""Streaming Whisper as a Truss.

The protocol is the one of Baseten's streaming Whisper deployments:
https://docs.baseten.co/reference/inference-api/predict-endpoints/streaming-transcription-api
"""

from __future__ import annotations

import contextlib
from typing import Any

from fastapi import WebSocket
from truss_socket import TrussSocket

from livekit.plugins.baseten_sandbox.deployments import Deployment
from livekit.plugins.baseten_sandbox.engines.pool import EnginePool
from livekit.plugins.baseten_sandbox.protocols.whisper import WhisperServer
from livekit.plugins.baseten_sandbox.sockets import Disconnected


class Model:
    """Whisper tiny.en behind Silero VAD; any number of sessions share its two worker threads."""

    def __init__(self, **kwargs: Any) -> None:
        self._deployment = Deployment(id="truss", serves="whisper")

    def engines(self) -> EnginePool:
        """The models; put another `Transcriber` here to serve your own."""
        return EnginePool(transcriber="whisper")

    def load(self) -> None:
        """Load the weights, which came with the requirements. Truss answers 503 until then."""
        engines = self.engines()
        engines.transcriber.load()
        self._serve = WhisperServer(engines)

    async def websocket(self, websocket: WebSocket) -> None:
        """Serve one session. An exception closes it with 1011, a return with 1000."""
        with contextlib.suppress(Disconnected):
            await self._serve(TrussSocket(websocket), self._deployment)
