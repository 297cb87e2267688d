"""The link between clients and servers, in a process of its own; see :mod:`arena`.

A server that is busy, or collects garbage, would make a link in its own process longer. And the event
loop's timers are only good for a millisecond when they wait with epoll, so this one waits otherwise.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from urllib.parse import urlsplit

from process import serve

from livekit.plugins.baseten_sandbox.distance import Relay

_RELAYS: list[Relay] = []


async def link(url: str, round_trip: float) -> str:
    """Put a server further away; its URL from there.

    Args:
        url: Any of its URLs.
        round_trip: Seconds.
    """
    port = urlsplit(url).port
    assert port is not None
    relay = Relay(target=port, round_trip=round_trip, bandwidth=None)
    await relay.start("127.0.0.1", 0)
    _RELAYS.append(relay)
    return url.replace(f":{port}", f":{relay.port}", 1)


if __name__ == "__main__":
    gc.freeze()
    serve({"link": link}, loop=asyncio.SelectorEventLoop(selectors.SelectSelector()))
