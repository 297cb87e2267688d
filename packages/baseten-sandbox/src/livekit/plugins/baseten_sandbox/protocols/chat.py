"""The chat completions server: ``POST chat/completions`` and ``GET models``, strict and streaming as Baseten's.

Facts: https://docs.baseten.co/reference/inference-api/chat-completions. A stream carries the usage so far on every
chunk (``continuous_usage_stats`` is on by default), one last chunk with no choices, and ``[DONE]``.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from ..engines.dialogue import ChatEngine, Cut, Hold, Refusal, Reply, Silence
from .chat_models import MODEL_APIS, ChatModel
from .chat_schema import fault_in
from .chat_wire import Answer, tokens_in

__all__ = ["ChatRequest", "ChatServer"]

# How often a silent server looks whether its client is still there, in seconds.
_GLANCE = 0.02
_KEPT_REQUESTS = 1000


@dataclass
class ChatRequest:
    """One request as it arrived, for tests to look at.

    Attributes:
        route: ``"chat/completions"`` or ``"models"``.
        headers: The request's headers in lower case; the credentials are struck out.
        body: The decoded JSON body, None when there was none.
        status: The status it was answered with.
        outcome: How the answer ended: sent whole, broken off by the server, or left by the client.
        ended: Set once ``outcome`` is known.
    """

    route: str
    headers: dict[str, str]
    body: Any = None
    status: int | None = None
    outcome: Literal["whole", "cut", "left"] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class ChatServer:
    """Serves chat completions on behalf of an engine.

    Args:
        engine: Who answers.
        models: What is served. A request for another slug gets a 404. With one model and ``any_model``, that
            model answers under any name, as a dedicated deployment may.
        any_model: See ``models``.
        token_interval: Seconds between two tokens.
    """

    def __init__(
        self,
        *,
        engine: ChatEngine,
        models: Iterable[ChatModel] = MODEL_APIS,
        any_model: bool = False,
        token_interval: float = 0.0,
    ) -> None:
        self.engine = engine
        self.requests: deque[ChatRequest] = deque(maxlen=_KEPT_REQUESTS)
        self._models = {model.slug: model for model in models}
        self._any_model = any_model
        self._token_interval = token_interval
        # The last prompt of each conversation, for the count of cached tokens.
        self._prompts: dict[str, list[str]] = {}

    async def handle(self, request: web.Request, *, route: str) -> web.StreamResponse:
        """Answer one request; the key was checked before."""
        record = ChatRequest(route=route, headers=_public(request))
        self.requests.append(record)
        try:
            response = await self._answer(request, route, record)
            record.status = response.status
            record.outcome = record.outcome or "whole"
            return response
        except (ConnectionError, asyncio.CancelledError):
            record.outcome = "left"
            raise
        finally:
            record.ended.set()

    async def _answer(
        self, request: web.Request, route: str, record: ChatRequest
    ) -> web.StreamResponse:
        if (request.method, route) == ("GET", "models"):
            return web.json_response({"object": "list", "data": [*map(_card, self._models)]})
        if (request.method, route) != ("POST", "chat/completions"):
            return _refused(404, "Not Found")
        try:
            body = record.body = json.loads(await request.read())
        except ValueError:
            return _refused(400, "Request body is not valid JSON.")
        if fault := fault_in(body):
            return _refused(400, fault)
        model = self._models.get(body["model"])
        if model is None and self._any_model:
            model = next(iter(self._models.values()))
        if model is None:
            return _refused(404, f"Model {body['model']} does not exist or is not enabled.")
        if fault := model.fault_in(body):
            return _refused(400, fault)
        return await self._reply(request, record, model)

    async def _reply(
        self, request: web.Request, record: ChatRequest, model: ChatModel
    ) -> web.StreamResponse:
        body = record.body
        answer = Answer(body, field=model.thinking_field, cached=self._cached(record, body))
        replies = self.engine.reply(body, thinks=model.thinks(body))
        async with aclosing(replies):
            if not body.get("stream"):
                return await _whole(replies, answer, request)
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            return await self._stream(replies, answer, request, response, record)

    async def _stream(
        self,
        replies: AsyncIterator[Reply],
        answer: Answer,
        request: web.Request,
        response: web.StreamResponse,
        record: ChatRequest,
    ) -> web.StreamResponse:
        async for reply in replies:
            if isinstance(reply, Refusal):
                return _written(reply)
            if isinstance(reply, Silence) and reply.before_headers:
                await _client_left(request)
                raise ConnectionResetError
            if not response.prepared:
                await response.prepare(request)
            if isinstance(reply, Hold):
                await reply.until.wait()
            elif isinstance(reply, Silence):
                await _client_left(request)
                raise ConnectionResetError
            elif isinstance(reply, Cut):
                record.outcome = "cut"
                if not reply.politely and request.transport is not None:
                    request.transport.abort()
                return response
            else:
                for data in answer.chunks(reply):
                    await response.write(data)
                    if self._token_interval:
                        await asyncio.sleep(self._token_interval)
        if not response.prepared:
            await response.prepare(request)
        for data in answer.end():
            await response.write(data)
        await response.write_eof()
        return response

    def _cached(self, record: ChatRequest, body: dict[str, Any]) -> int:
        """Count the prompt's tokens that an earlier request of the same conversation already had."""
        conversation = record.headers.get("x-session-affinity")
        if conversation is None:
            return 0
        prompt = [json.dumps(message, sort_keys=True) for message in body["messages"]]
        earlier = self._prompts.get(conversation, [])
        self._prompts[conversation] = prompt
        same = 0
        for before, now in zip(earlier, prompt, strict=False):
            if before != now:
                break
            same += tokens_in(now)
        return same


async def _whole(
    replies: AsyncIterator[Reply], answer: Answer, request: web.Request
) -> web.StreamResponse:
    async for reply in replies:
        if isinstance(reply, Refusal):
            return _written(reply)
        if isinstance(reply, Hold):
            await reply.until.wait()
        elif isinstance(reply, Silence):
            await _client_left(request)
            raise ConnectionResetError
        else:
            # Drained for its effect: it counts and collects what a stream would carry.
            for _ in answer.chunks(reply):
                pass
    return web.json_response(answer.whole())


async def _client_left(request: web.Request) -> None:
    # aiohttp has no event for it.
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(_GLANCE)


def _written(refusal: Refusal) -> web.Response:
    body = refusal.body
    if isinstance(body, str):
        return web.Response(status=refusal.status, text=body, headers=dict(refusal.headers))
    if body is None:
        body = {"error": f"HTTP {refusal.status}"}
    return web.json_response(body, status=refusal.status, headers=dict(refusal.headers))


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _card(slug: str) -> dict[str, Any]:
    owner = slug.partition("/")[0]
    return {"id": slug, "object": "model", "created": int(time.time()), "owned_by": owner}


def _public(request: web.Request) -> dict[str, str]:
    headers = {name.lower(): value for name, value in request.headers.items()}
    for secret in ("authorization", "x-api-key"):
        if secret in headers:
            headers[secret] = headers[secret].partition(" ")[0] + " ***"
    return headers
