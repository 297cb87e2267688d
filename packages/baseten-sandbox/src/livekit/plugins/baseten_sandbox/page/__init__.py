"""The page at the sandbox's root: talk to an agent from the browser's microphone."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from aiohttp import web

from ..talk import Conversation
from .agents import preload
from .origins import refusal

__all__ = ["Page"]

_MOST = 4
_LONGEST_MESSAGE = 64 * 1024  # the browser sends 20 ms at a time, 4 KiB at the very most


class Page:
    """Serves ``/`` and ``/talk``.

    Args:
        environ: Gives the environment variables that point a program at the sandbox.
        agent: The user's agent file; ``None`` for the built-in agent.
    """

    def __init__(
        self, environ: Callable[[], Mapping[str, str]], *, agent: Path | None = None
    ) -> None:
        self._environ = environ
        self._agent = agent
        self._talking: dict[asyncio.Task[Any], web.WebSocketResponse] = {}

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put the page's two routes in front of the gateway's."""
        router.add_get("/", self.index)
        router.add_get("/talk", self.talk)

    async def close(self) -> None:
        """End every conversation."""
        for ws in list(self._talking.values()):
            await ws.close(code=1001, message=b"the sandbox stops")
        tasks = [task for task in self._talking if task is not asyncio.current_task()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=6.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def index(self, request: web.Request) -> web.Response:
        """The page itself."""
        reason = refusal(request, cross_site=True)
        if reason is not None:
            return web.Response(status=403, text=reason + "\n")
        # Whoever opens the page will talk: what that needs loads while they read.
        asyncio.get_running_loop().run_in_executor(None, preload)
        html = resources.files(__package__).joinpath("index.html").read_bytes()
        return web.Response(
            body=html,
            content_type="text/html",
            charset="utf-8",
            headers=_headers(html, request.host),
        )

    async def talk(self, request: web.Request) -> web.StreamResponse:
        """The WebSocket of one conversation; see `talk`."""
        reason = refusal(request)
        if reason is not None:
            return web.Response(status=403, text=reason + "\n")
        if len(self._talking) >= _MOST:
            return web.Response(status=503, text="There are enough conversations already.\n")
        ws = web.WebSocketResponse(
            heartbeat=15.0, timeout=2.0, max_msg_size=_LONGEST_MESSAGE, compress=False
        )
        if not ws.can_prepare(request):
            return web.Response(status=426, text="This address is for the page's WebSocket.\n")
        task = asyncio.current_task()
        assert task is not None
        self._talking[task] = ws
        try:
            await ws.prepare(request)
            await Conversation(ws, environ=self._environ(), agent=self._agent).run()
            await ws.close()
        finally:
            del self._talking[task]
        return ws


def _headers(html: bytes, host: str) -> dict[str, str]:
    """Headers that allow what the page itself does and nothing else.

    Its own script and style are named by hash. An AudioWorklet needs a script by URL: the page
    makes a ``blob:`` one of its own text. Not every browser counts a WebSocket to the page's own
    host as ``'self'``, so that is named too.
    """
    policy = {
        "default-src": "'none'",
        "script-src": f"{_hash(html, 'script')} blob:",
        "style-src": _hash(html, "style"),
        "img-src": "data:",
        "connect-src": f"'self' ws://{host} wss://{host}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{k} {v}" for k, v in policy.items()),
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


def _hash(html: bytes, element: str) -> str:
    """The CSP source of the one inline element of that name."""
    match = re.search(rf"<{element}>(.*?)</{element}>".encode(), html, re.DOTALL)
    assert match is not None
    digest = hashlib.sha256(match[1]).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
