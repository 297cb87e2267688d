"""The HTTP client of the LLM: the ``openai`` one, without what belongs to OpenAI alone."""

from __future__ import annotations

import httpx2 as httpx
import openai

from livekit.plugins.baseten_common import ApiKey, AuthScheme

from .version import __version__

__all__ = ["baseten_client"]

# Baseten closes a connection after 60 to 120 idle seconds
# (https://docs.baseten.co/inference/http-client-configuration); one must not be reused just then.
_KEEP_ALIVE = 50.0
_CONNECTIONS = 50
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
