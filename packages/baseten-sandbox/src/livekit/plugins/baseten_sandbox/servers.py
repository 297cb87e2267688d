"""Which protocol server answers for which deployment."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from .deployments import Deployment
from .engines.pool import EnginePool
from .gateway import SocketServer, error_response
from .log import logger
from .protocols.json_tts import JsonTtsServer
from .protocols.orpheus import OrpheusHttpServer, OrpheusSocketServer
from .protocols.qwen3_asr import Qwen3AsrServer
from .protocols.qwen3_tts import Qwen3TtsServer
from .protocols.schema import Invalid
from .protocols.whisper import WhisperServer
from .protocols.whisper_batch import WhisperBatchServer
from .sockets import MODEL_ERROR

if TYPE_CHECKING:
    from .engines.dialogue import ChatEngine

__all__ = ["Servers"]

PredictServer = Callable[[web.Request, Deployment, Any], Awaitable[web.StreamResponse]]


class Servers:
    """The protocol servers of one sandbox.

    Args:
        engines: The models.
        chat: Answers chat completions; rules when ``None``.
        idle_limit: Seconds a Qwen3-TTS session may idle.
    """

    def __init__(self, engines: EnginePool, chat: ChatEngine | None, *, idle_limit: float) -> None:
        self.sockets: dict[str, SocketServer] = {
            "whisper": WhisperServer(engines),
            "orpheus-ws": OrpheusSocketServer(engines),
            "qwen3-asr": Qwen3AsrServer(engines),
            "qwen3-tts": Qwen3TtsServer(engines, idle_limit=idle_limit),
        }
        self._predict: dict[str, PredictServer] = {
            "orpheus": OrpheusHttpServer(engines),
            "json-tts": JsonTtsServer(engines),
            "whisper-batch": WhisperBatchServer(engines),
        }
        self._chat_engine = chat
        self._model_apis: Any = None
        self._dedicated: Any = None

    def _load_chat(self) -> None:
        if self._model_apis is None:
            from .engines.rules import RuleEngine
            from .protocols.chat import ChatServer

            engine = self._chat_engine or RuleEngine()
            self._model_apis = ChatServer(engine=engine)
            self._dedicated = ChatServer(engine=engine, any_model=True)

    async def close(self) -> None:
        """Let go of what the chat engine holds open."""
        close = getattr(self._chat_engine, "aclose", None)
        if close is not None:
            await close()

    async def http(
        self, request: web.Request, deployment: Deployment | None, route: str
    ) -> web.StreamResponse:
        """Answer an HTTP request that passed the gateway."""
        if deployment is None:
            self._load_chat()
            handled: web.StreamResponse = await self._model_apis.handle(
                request, route=route.removeprefix("v1/")
            )
            return handled
        if route.startswith("sync/v1/") and deployment.serves == "chat":
            self._load_chat()
            handled = await self._dedicated.handle(request, route=route.removeprefix("sync/v1/"))
            return handled
        if route != deployment.http_route:
            return error_response(404, "Not found.")
        if request.method != "POST":
            return error_response(405, "Method Not Allowed")
        server = self._predict.get(deployment.serves)
        if server is None:
            if deployment.serves == "chat":
                return error_response(
                    404, "`predict` must only be called if model has it.", model_code=700
                )
            message = (
                "Unhandled exception: AssertionError: "
                "`predict` must only be called if model has it."
            )
            return error_response(500, message, model_code=500)
        try:
            body = json.loads(await request.read())
        except ValueError as error:
            return error_response(400, f"Invalid JSON payload: {error}", model_code=700)
        try:
            return await server(request, deployment, body)
        except (ConnectionError, web.HTTPException):
            raise
        except (Invalid, KeyError, TypeError, ValueError, aiohttp.ClientError):
            return error_response(500, MODEL_ERROR, model_code=600)
        except Exception:
            logger.exception("a model server failed")
            return error_response(500, MODEL_ERROR, model_code=600)
