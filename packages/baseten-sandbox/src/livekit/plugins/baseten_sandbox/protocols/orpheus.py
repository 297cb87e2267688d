"""Orpheus: speech over HTTP, and over a WebSocket with the word splitting of Baseten's example."""

from __future__ import annotations

import json
import re
import uuid
from contextlib import aclosing
from typing import Any

from aiohttp import web

from ..deployments import Deployment
from ..engines.pool import EnginePool
from ..log import logger
from ..sockets import Rejected
from .connection import Connection

__all__ = ["OrpheusHttpServer", "OrpheusSocketServer", "WordBuffer", "split_sentences"]

_FRAME = 4096  # bytes: 2048 samples, what the decoder gives at a time
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=\S)")
_ABBREVIATION = re.compile(r"\b(?:mr|mrs|ms|dr|prof|st|jr|sr|vs|e\.g|i\.e|[a-z])\.$", re.IGNORECASE)


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences; titles, initials and the like don't end one."""
    sentences: list[str] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        piece = text[start : match.end()].strip()
        if _ABBREVIATION.search(piece):
            continue
        sentences.append(piece)
        start = match.end()
    if text[start:].strip():
        sentences.append(text[start:].strip())
    return sentences


class WordBuffer:
    """Baseten's way from received frames to prompts, kept as it is: it may lose words.

    A flush speaks all complete sentences, or else `size` words once there are so many, or else, at
    the end only, the rest. There is one flush a frame and one at the end, and no more.
    """

    def __init__(self, size: int) -> None:
        self._words: list[str] = []
        self._size = size

    def add(self, frame: str) -> str | None:
        """Take a frame; give the text to speak now, if any."""
        self._words += frame.strip().split()
        return self._flush(final=False)

    def end(self) -> str | None:
        """Give the text of the last flush, if any. What stays behind is never spoken."""
        return self._flush(final=True)

    def _flush(self, *, final: bool) -> str | None:
        if not self._words:
            return None
        complete = split_sentences(" ".join(self._words))[:-1]
        if complete:
            taken = sum(len(sentence.split()) for sentence in complete)
        elif len(self._words) >= self._size:
            taken = self._size
        elif final:
            taken = len(self._words)
        else:
            return None
        spoken, self._words = self._words[:taken], self._words[taken:]
        return " ".join(spoken)


class OrpheusSocketServer:
    """Serves one utterance a WebSocket."""

    def __init__(self, engines: EnginePool) -> None:
        self._engines = engines

    async def __call__(self, socket: Connection, deployment: Deployment) -> None:
        """Serve one utterance."""
        try:
            config = json.loads(await socket.receive_text())
            words = WordBuffer(int(config.get("buffer_size", 10)))
            voice = config.get("voice", "tara")
        except (ValueError, TypeError, AttributeError):
            raise Rejected from None
        while True:
            text = await socket.receive_text()
            if text == "__END__":
                await self._speak(socket, words.end(), voice)
                return
            # Nothing is received while this speaks, as on Baseten.
            await self._speak(socket, words.add(text), voice)

    async def _speak(self, socket: Connection, text: str | None, voice: Any) -> None:
        if text is None:
            return
        pending = b""
        async with aclosing(self._engines.synthesize(text, voice=voice or None)) as speech:
            async for audio in speech:
                pending += audio
                while len(pending) >= _FRAME:
                    await socket.send(pending[:_FRAME])
                    pending = pending[_FRAME:]
        if pending:
            await socket.send(pending.ljust(_FRAME, b"\0"))


class OrpheusHttpServer:
    """Serves ``/predict``: raw PCM under a WAV content type, as Baseten's example does."""

    def __init__(self, engines: EnginePool) -> None:
        self._engines = engines

    async def __call__(
        self, request: web.Request, deployment: Deployment, body: Any
    ) -> web.StreamResponse:
        """Answer one request; `body` is its parsed JSON."""
        prompt = body.get("prompt") if isinstance(body, dict) else None
        if not isinstance(prompt, str):
            return _failed(body)
        speech = self._engines.synthesize(prompt, voice=body.get("voice", "tara") or None)
        response = web.StreamResponse(
            headers={"Content-Type": "audio/wav", "X-Baseten-Input-Tokens": str(len(prompt))}
        )
        response.enable_chunked_encoding()
        try:
            async with aclosing(speech):
                async for chunk in speech:
                    if not response.prepared:
                        await response.prepare(request)
                    for at in range(0, len(chunk), _FRAME):
                        await response.write(chunk[at : at + _FRAME])
        except ConnectionError:
            raise
        except Exception:
            logger.exception("the speech model failed")
            if not response.prepared:
                return _failed(body)
            # The status is out: all that a client gets to see is a body that ends early.
        if not response.prepared:
            await response.prepare(request)
        await response.write_eof()
        return response


def _failed(body: Any) -> web.Response:
    request_id = body.get("request_id") if isinstance(body, dict) else None
    return web.Response(
        status=500,
        text="An internal server error occurred while processing your request "
        f"{request_id or uuid.uuid4()}",
    )
