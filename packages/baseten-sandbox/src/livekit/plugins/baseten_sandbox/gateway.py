"""The gateway in front of the models: key, URL layout, state of the deployments, faults."""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .bodies import Tap
from .deployments import Deployment
from .faults import ConnectionFaults, FaultPlan
from .log import logger
from .protocols.connection import Connection
from .recording import Recording
from .records import Journal, SessionRecord
from .replay import Replay
from .routing import Target, find_target
from .sockets import MODEL_ERROR, Disconnected, Rejected, Socket, reset_transport

__all__ = ["REQUEST_ID", "Gateway", "error_response"]

REQUEST_ID = "X-BASETEN-REQUEST-ID"
_MAX_MESSAGE = 100 * 1024 * 1024  # https://docs.baseten.co/development/model/websockets
_NOT_READY = "Model with name model is not ready."

HttpServer = Callable[[web.Request, Deployment | None, str], Awaitable[web.StreamResponse]]
SocketServer = Callable[[Connection, Deployment], Awaitable[None]]


def error_response(
    status: int, message: str, *, code: str | None = None, model_code: int | None = None
) -> web.Response:
    """An error in Baseten's shape.

    Args:
        status: HTTP status.
        message: Goes under ``error``.
        code: Goes under ``error_code``: the gateway's own errors have one.
        model_code: 500, 600 or 700: marks an error of the model server, as Truss does.
    """
    body: dict[str, Any] = {"error": message}
    if code:
        body["error_code"] = code
    headers = {}
    if model_code is not None:
        headers = {"X-BASETEN-ERROR-SOURCE": "04", "X-BASETEN-ERROR-CODE": str(model_code)}
    return web.json_response(body, status=status, headers=headers)


class _Gone(web.Response):
    """Nothing, to nobody: aiohttp would log an error and try to say 500 over a dead connection."""

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class Gateway:
    """Answers every request of the sandbox.

    Args:
        api_key: The key that callers must send.
        deployments: What is deployed, by host label.
        journal: Where sessions are recorded.
        faults: The faults to come.
        http: Serves an HTTP request that passed the gateway.
        sockets: Serves a WebSocket that passed the gateway, by protocol.
        ping_interval: Seconds between pings on WebSockets; ``None`` for none.
        lifetime: Seconds after which a WebSocket is cut with 1001; ``None`` for never.
        control: Answers what lies under ``/sandbox/``.
        replay: Recorded sessions, played where there are some for what is addressed.
    """

    def __init__(
        self,
        *,
        api_key: str,
        deployments: dict[str, Deployment],
        journal: Journal,
        faults: FaultPlan,
        http: HttpServer,
        sockets: dict[str, SocketServer],
        ping_interval: float | None,
        lifetime: float | None,
        control: Callable[[web.Request], Awaitable[web.Response]] | None = None,
        replay: Replay | None = None,
    ) -> None:
        self._api_key = api_key
        self._deployments = deployments
        self._journal = journal
        self._faults = faults
        self._http = http
        self._sockets = sockets
        self._ping_interval = ping_interval
        self._lifetime = lifetime
        self._control = control
        self._replay = replay
        self._waking: dict[str, float] = {}
        self._handlers: set[asyncio.Task[Any]] = set()
        self._taps: dict[int, Tap] = {}
        self.open: dict[int, Socket] = {}

    async def shut(self) -> None:
        """End every request in progress."""
        for socket in list(self.open.values()):
            socket.lost("server")
        handlers = [task for task in self._handlers if task is not asyncio.current_task()]
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        record = self._record(request)
        target = find_target(request.host, request.path, self._deployments.values())
        if target is not None:
            record.deployment, record.route = target.id, target.route
        if self._control is not None and request.path.startswith("/sandbox/"):
            if not record.authorized:
                return error_response(401, "Invalid API key.", code="unauthorized")
            return await self._control(request)
        self._journal.begin(record)
        faults = self._faults.take(record.deployment, record.transport)
        tap = Tap(request, record, faults, self._journal)
        self._taps[id(request)] = tap
        try:
            response = await self._answer(request, record, target, faults)
            if not isinstance(response, web.WebSocketResponse):
                # Written here, so that the session is over when its record says so.
                await response.prepare(request)
                await response.write_eof()
            return response
        except ConnectionError:
            if record.closed_by is None:
                record.closed_by = "client"
            return _Gone()
        except asyncio.CancelledError:
            if record.closed_by is None:
                record.closed_by = "client"
            raise
        finally:
            del self._taps[id(request)]
            if record.closed_by is None:
                record.closed_by = "server"
            self._journal.end(record)

    async def prepare(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Put the request id on an answer and tap what is written (an aiohttp signal)."""
        tap = self._taps.get(id(request))
        if tap is not None:
            response.headers[REQUEST_ID] = tap.record.request_id
            if not isinstance(response, web.WebSocketResponse):
                tap.attach(response)

    def _record(self, request: web.Request) -> SessionRecord:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
        hidden = {"authorization", "x-api-key", "api-key"}
        return SessionRecord(
            number=self._journal.number(),
            transport="websocket" if upgrade else "http",
            method=request.method,
            path=request.path_qs,
            headers={k.lower(): v for k, v in request.headers.items() if k.lower() not in hidden},
            scheme=scheme or None,
            authorized=scheme in ("Bearer", "Api-Key")
            and hmac.compare_digest(key.strip().encode(), self._api_key.encode()),
            request_id=uuid.uuid4().hex,
        )

    async def _answer(
        self,
        request: web.Request,
        record: SessionRecord,
        target: Target | None,
        faults: ConnectionFaults,
    ) -> web.StreamResponse:
        struck = await self._strike_handshake(request, record, faults)
        if struck is not None:
            return struck
        refused = await self._refusal(request, record, target)
        if refused is not None:
            return refused
        assert target is not None
        if record.transport == "websocket":
            assert target.deployment is not None
            return await self._serve_socket(request, record, target.deployment, faults)
        try:
            body = await request.text()
        except web.HTTPRequestEntityTooLarge:
            return error_response(413, "Request body too large", code="payload_too_large")
        except UnicodeDecodeError:
            body = ""
        if body:
            self._journal.add(record, "received", body)
        recording = self._recording(record)
        if recording is not None and self._replay is not None:
            return await self._replay.serve_http(request, recording)
        return await self._http(request, target.deployment, target.route)

    def _recording(self, record: SessionRecord) -> Recording | None:
        if self._replay is None:
            return None
        return self._replay.next(record.transport, record.deployment)

    async def _strike_handshake(
        self, request: web.Request, record: SessionRecord, faults: ConnectionFaults
    ) -> web.StreamResponse | None:
        due = faults.begin("handshake")
        if record.transport == "http":
            due += faults.begin("open")
        for fault in due:
            record.faults.append(fault.do)
            self._journal.changed()
            if fault.do in ("park", "silence", "mute"):
                await self._park(request, fault.seconds)
                if fault.body is None:
                    continue
            elif fault.do in ("reset", "eof", "close", "finish"):
                record.closed_by = "fault"
                if fault.do == "reset":
                    reset_transport(request.transport)
                elif request.transport is not None:
                    request.transport.close()
                raise ConnectionResetError("ended by a fault")
            if isinstance(fault.body, (str, bytes)):
                raw = fault.body.encode() if isinstance(fault.body, str) else fault.body
                response = web.Response(status=fault.status, body=raw)
            else:
                body = {"error": "injected fault"} if fault.body is None else fault.body
                response = web.json_response(body, status=fault.status)
            response.headers.update(fault.headers)
            return response
        return None

    async def _park(self, request: web.Request, seconds: float | None) -> None:
        waited = 0.0
        while seconds is None or waited < seconds:
            step = 0.02 if seconds is None else min(0.02, seconds - waited)
            await asyncio.sleep(step)
            waited += step
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client left")

    async def _refusal(
        self, request: web.Request, record: SessionRecord, target: Target | None
    ) -> web.StreamResponse | None:
        if not record.authorized:
            return error_response(401, "Invalid API key.", code="unauthorized")
        if target is None:
            return error_response(404, "Not found.")
        if target.model_apis:
            if record.transport == "websocket":
                return error_response(400, "WebSockets are not served here.", code="client_error")
            return None
        deployment = target.deployment
        if deployment is None or deployment.state == "deactivated":
            return error_response(404, "Model does not exist.", code="model_does_not_exist")
        if record.transport == "websocket" and target.route != deployment.websocket_route:
            return error_response(
                400, f"Invalid websocket path: {target.route}", code="client_error"
            )
        if target.route == "wake":
            if request.method != "POST":
                return error_response(405, "Method Not Allowed")
            self._waking.setdefault(deployment.host, asyncio.get_running_loop().time())
            return web.json_response({}, status=202)
        if deployment.state == "loading":
            return error_response(503, _NOT_READY, model_code=600)
        if deployment.state == "unhealthy":
            return error_response(
                500,
                "Model is unhealthy, it is not ready to make predictions",
                code="model_unavailable",
            )
        if deployment.state == "asleep":
            now = asyncio.get_running_loop().time()
            since = self._waking.setdefault(deployment.host, now)
            await self._park(request, since + deployment.cold_start - now)
            self._deployments[deployment.host] = dataclasses.replace(deployment, state="ready")
            self._waking.pop(deployment.host, None)
        return None

    async def _serve_socket(
        self,
        request: web.Request,
        record: SessionRecord,
        deployment: Deployment,
        faults: ConnectionFaults,
    ) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(
            autoping=False, compress=False, timeout=2.0, max_msg_size=_MAX_MESSAGE
        )
        await ws.prepare(request)
        record.status = 101
        connection = Socket(
            request, ws, record, faults, self._journal, ping_interval=self._ping_interval
        )
        self.open[record.number] = connection
        self._journal.changed()
        extra = [asyncio.create_task(connection.run_pings())]
        if self._lifetime is not None:
            extra.append(asyncio.create_task(self._expire(connection, self._lifetime)))
        try:
            await connection.opened()
            server = self._sockets.get(deployment.serves)
            recording = self._recording(record)
            if recording is not None and self._replay is not None:
                await self._replay.serve_socket(connection, recording)
                await connection.end(1000)
            elif server is None:
                await connection.end(1003, "WebSocket is not implemented on this deployment.")
            else:
                await server(connection, deployment)
                await connection.end(1000)
        except Disconnected:
            pass
        except Rejected:
            await connection.end(1011, MODEL_ERROR)
        except Exception:
            logger.exception("a model server failed")
            await connection.end(1011, MODEL_ERROR)
        finally:
            self.open.pop(record.number, None)
            for task in extra:
                task.cancel()
            await asyncio.gather(*extra, return_exceptions=True)
            transport = request.transport
            if not ws.closed and transport is not None and not transport.is_closing():
                # Nobody is there to answer a close frame.
                transport.abort()
            if record.closed_by is None:
                record.closed_by = "client"
        return ws

    async def _expire(self, connection: Socket, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await connection.close(1001, "")
