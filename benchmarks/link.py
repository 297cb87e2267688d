"""The link between clients and servers, in a process of its own; see :mod:`arena`.

A server that is busy, or collects garbage, would make a link in its own process longer. And the event
loop's timers are only good for a millisecond when they wait with epoll, so this one waits otherwise.
At its far end it notes how long the server takes to answer.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import time
from urllib.parse import urlsplit

from process import serve

from livekit.plugins.baseten_sandbox.distance import Relay

_RELAYS: list[Relay] = []
_passed: list[tuple[int, str, float]] = []


async def link(url: str, round_trip: float) -> str:
    """Put a server further away; its URL from there.

    Args:
        url: Any of its URLs.
        round_trip: Seconds.
    """
    port = urlsplit(url).port
    assert port is not None

    def watch(connection: int, what: str) -> None:
        _passed.append((connection, what, time.monotonic()))

    relay = Relay(target=port, round_trip=round_trip, bandwidth=None, watch=watch)
    await relay.start("127.0.0.1", 0)
    _RELAYS.append(relay)
    return url.replace(f":{port}", f":{relay.port}", 1)


async def passed() -> list[tuple[int, str, float]]:
    """When bytes were about to ``go`` to the server or had ``come`` from it, since the last call.

    With the number of their connection, by the monotonic clock.
    """
    noted = _passed[:]
    _passed.clear()
    return noted


if __name__ == "__main__":
    gc.freeze()
    serve(
        {"link": link, "passed": passed},
        loop=asyncio.SelectorEventLoop(selectors.SelectSelector()),
    )
