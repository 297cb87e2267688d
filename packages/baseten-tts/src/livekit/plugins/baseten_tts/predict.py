from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from livekit.plugins.baseten_common import Endpoint, Transport

from .protocols import Audio, Failed, Predict
from .utterance import WHAT, failure

__all__ = ["Synthesis"]


class Synthesis:
    """Speech by POST, streamed as it is made."""

    def __init__(
        self,
        *,
        transport: Transport,
        endpoint: Endpoint,
        protocol: Predict,
        limit: float,
        started: Callable[[str | None], None] | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            transport: Sends the request.
            endpoint: Where to.
            protocol: The request and the answer's shape.
            limit: Seconds to connect, and to wait for each part of the answer.
            started: Called with the server's request id when the answer begins.
        """
        self._transport = transport
        self._url = endpoint.post_url()
        self._protocol = protocol
        self._limit = limit
        self._started = started

    async def speak(self, text: str) -> AsyncGenerator[Audio, None]:
        """The speech for a text. Closing the iterator hangs up on the server.

        Raises:
            APIError: the speech isn't complete.
        """
        key = self._transport.api_key
        async with self._transport.post(
            self._url, json=self._protocol.body(text), what=WHAT, timeout=self._limit
        ) as answer:
            if self._started:
                self._started(answer.request_id)
            reader = self._protocol.reader(text, answer.content_type)
            async for chunk in answer.chunks():
                for event in reader.feed(chunk):
                    if isinstance(event, Failed):
                        raise failure(event, key=key, request_id=answer.request_id)
                    if isinstance(event, Audio):
                        yield event
            for event in reader.end():
                if isinstance(event, Failed):
                    raise failure(event, key=key, request_id=answer.request_id)
                if isinstance(event, Audio):
                    yield event
