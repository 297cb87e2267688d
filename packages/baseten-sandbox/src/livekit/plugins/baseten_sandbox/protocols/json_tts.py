"""Text to speech that answers JSON with a base64 WAV, as Kokoro and its like do."""

from __future__ import annotations

import base64
from contextlib import aclosing
from typing import Any

from aiohttp import web

from ..deployments import Deployment
from ..engines.pool import EnginePool
from .audio_files import wav

__all__ = ["JsonTtsServer"]

_RATE = 24000


class JsonTtsServer:
    """Serves ``/predict``: ``{"text", "voice", "speed"}`` gives ``{"base64": "<WAV>"}``."""

    def __init__(self, engines: EnginePool) -> None:
        self._engines = engines

    async def __call__(
        self, request: web.Request, deployment: Deployment, body: Any
    ) -> web.StreamResponse:
        """Answer one request; `body` is its parsed JSON.

        Raises:
            KeyError: There is no text; the model would raise too.
        """
        text = body["text"]
        pcm = b""
        async with aclosing(self._engines.synthesize(str(text), voice=body.get("voice"))) as speech:
            async for chunk in speech:
                pcm += chunk
        encoded = base64.b64encode(wav(pcm, _RATE)).decode()
        return web.json_response({deployment.audio_key: encoded})
