from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from livekit.plugins.baseten_common import Endpoint, HTTPStream, Transport

from .failures import WHAT, failure_of
from .protocols import Audio, Event, Failed, Predict
from .spares import SpareConnections

__all__ = ["AFTER_SOUND", "Synthesis"]

AFTER_SOUND = 0.005
"""Seconds in which the first sound gets to the listener, before anything else is done."""


class Synthesis:
    """Speech by POST, streamed as it is made."""

    def __init__(
        self,
        *,
        transport: Transport,
        endpoint: Endpoint,
        protocol: Predict,
        limit: float,
        started: Callable[[HTTPStream], None],
        spares: SpareConnections,
        cold_start: float,
    ) -> None:
        """Nothing is sent yet.

        Args:
            transport: Sends the request.
            endpoint: Where to.
            protocol: The request and the answer's shape.
            limit: Seconds to connect, and to wait for each part of the answer.
            started: Called with the answer when it begins.
            spares: Keep a connection for the next request, since this one may break off.
            cold_start: Seconds to wait for a deployment that is starting.
        """
        self._transport = transport
        self._url = endpoint.post_url()
        self._protocol = protocol
        self._limit = limit
        self._started = started
        self._spares = spares
        self._cold_start = cold_start

    async def speak(
        self,
        text: str,
        play: Callable[[Audio], None],
        *,
        due: asyncio.Future[None] | None = None,
    ) -> None:
        """Speak a text. Cancelling hangs up on the server.

        Args:
            text: What to say.
            play: Takes the speech in the step that reads it.
            due: Done when the speech is needed; a server that is busy with what comes before it
                may be silent until then. At once when None.

        Raises:
            APIError: the speech isn't complete.
        """
        self._spares.replace()  # at once: it takes longer than the first sound does
        try:
            async with self._transport.post(
                self._url,
                json=self._protocol.body(text),
                what=WHAT,
                timeout=self._limit,
                cold_start_timeout=self._cold_start,
                due=due,
            ) as answer:
                self._started(answer)
                self._spares.warm()
                reader = self._protocol.reader(text, answer.content_type)
                first_sound: float | None = None
                async for chunk in answer.chunks():
                    events = reader.feed(chunk)
                    self._hand_on(events, play, answer.request_id)
                    if events and first_sound is None:
                        first_sound = time.monotonic()
                if first_sound is not None:
                    # A body that came at once may leave much to be read at its end.
                    await asyncio.sleep(first_sound + AFTER_SOUND - time.monotonic())
                self._hand_on(reader.end(), play, answer.request_id)
        finally:
            self._spares.replace()

    def _hand_on(
        self, events: list[Event], play: Callable[[Audio], None], request_id: str | None
    ) -> None:
        for event in events:
            if isinstance(event, Failed):
                key = self._transport.api_key
                raise failure_of(event, key=key, request_id=request_id)
            if isinstance(event, Audio):
                play(event)
