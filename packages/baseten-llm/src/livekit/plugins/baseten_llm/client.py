"""The HTTP client of the LLM: the ``openai`` one, without what belongs to OpenAI alone."""

from __future__ import annotations

import asyncio
import contextlib
import weakref

import httpx2 as httpx
import openai

from livekit.plugins.baseten_common import ApiKey, AuthScheme, timeout

from .version import __version__

__all__ = ["baseten_client", "close", "close_when_dropped"]

# Baseten closes a connection after 60 to 120 idle seconds
# (https://docs.baseten.co/inference/http-client-configuration); one must not be reused just then.
_KEEP_ALIVE = 50.0
_CONNECTIONS = 50
_CLOSING = 5.0
_TIMEOUT = httpx.Timeout(connect=15.0, read=30.0, write=10.0, pool=10.0)


def baseten_client(
    *, base_url: str, key: ApiKey, auth_scheme: AuthScheme, max_retries: int
) -> openai.AsyncClient:
    """A client that sends a Baseten key, and no header that the environment holds for OpenAI.

    TLS is verified, against ``SSL_CERT_FILE`` if set; proxies of the environment are used.
    Redirects aren't followed: they would carry a caller's words to another host.
    """
    client = openai.AsyncClient(
        api_key=key.reveal(),
        base_url=base_url,
        max_retries=max_retries,
        timeout=_TIMEOUT,
        http_client=httpx.AsyncClient(
            timeout=_TIMEOUT,
            limits=httpx.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_CONNECTIONS,
                keepalive_expiry=_KEEP_ALIVE,
            ),
        ),
    )
    # The constructor has read OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS.
    client.organization = None
    client.project = None
    client._custom_headers = {
        **key.headers(auth_scheme),
        "User-Agent": f"livekit-plugins-baseten-llm/{__version__}",
    }
    return client


def close_when_dropped(owner: object, client: openai.AsyncClient) -> None:
    """Close a client's connections once its owner is gone that never closed it.

    Args:
        owner: Uses the client, which must not refer to it.
        client: Used in one event loop at a time; the last one is where it is closed.
    """
    used_in: list[asyncio.AbstractEventLoop] = []

    async def note_loop(_: httpx.Request) -> None:
        used_in[:] = [asyncio.get_running_loop()]

    client._client.event_hooks["request"].append(note_loop)
    finalizer = weakref.finalize(owner, _abandon, client, used_in)
    finalizer.atexit = False  # type: ignore[misc]


# The loop itself refers to its tasks but weakly.
_closings: set[asyncio.Task[None]] = set()


def _abandon(client: openai.AsyncClient, used_in: list[asyncio.AbstractEventLoop]) -> None:
    for loop in used_in:
        if not client.is_closed() and not loop.is_closed():
            # The garbage collector may call from any thread, and as the loop closes.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_start_closing, client)


def _start_closing(client: openai.AsyncClient) -> None:
    task = asyncio.get_running_loop().create_task(close(client), name="baseten_llm_close")
    _closings.add(task)
    task.add_done_callback(_closings.discard)


async def close(client: openai.AsyncClient) -> None:
    """Close a client's connections, as well as it can be done within 5 seconds."""
    with contextlib.suppress(Exception):
        async with timeout(_CLOSING):
            await client.close()
