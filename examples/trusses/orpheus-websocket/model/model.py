"""Text to speech as a Truss, over the WebSocket protocol of Baseten's Orpheus example.

https://github.com/basetenlabs/truss-examples has that example, ``orpheus-3b-websockets``.
"""

from __future__ import annotations

import contextlib
from typing import Any

from fastapi import WebSocket
from truss_socket import TrussSocket

from livekit.plugins.baseten_sandbox.deployments import Deployment
from livekit.plugins.baseten_sandbox.engines.pool import EnginePool
from livekit.plugins.baseten_sandbox.protocols.orpheus import OrpheusSocketServer
from livekit.plugins.baseten_sandbox.sockets import Disconnected


class Model:
    """Hibari, a small English voice; any number of sessions share its worker thread."""

    def __init__(self, **kwargs: Any) -> None:
        self._deployment = Deployment(id="truss", serves="orpheus-ws")

    def engines(self) -> EnginePool:
        """The models; put another `Synthesizer` here to serve your own."""
        return EnginePool(synthesizer="hibari")

    def load(self) -> None:
        """Load the weights, which came with the requirements. Truss answers 503 until then."""
        engines = self.engines()
        engines.synthesizer.load()
        self._serve = OrpheusSocketServer(engines)

    async def websocket(self, websocket: WebSocket) -> None:
        """Speak one utterance. An exception closes it with 1011, a return with 1000."""
        with contextlib.suppress(Disconnected):
            await self._serve(TrussSocket(websocket), self._deployment)
