"""Checks of what a user names a deployment by: a full URL, an id, an environment."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

__all__ = ["HOST", "check_environment", "check_id", "check_url", "is_loopback"]

HOST = "api.baseten.co"
"""What the names of all hosts of deployments end in."""

_ID = re.compile(r"[A-Za-z0-9]+")
_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def is_loopback(host: str) -> bool:
    """Whether a host name or address stays on this machine."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(url: str) -> SplitResult:
    """Check a full URL that a user gave, and take it apart.

    Raises:
        ValueError: not an ``https``, ``wss``, or loopback ``http``/``ws`` URL; with credentials,
            white space or control characters in it; or with a placeholder left unfilled.
    """
    if not url or url != url.strip() or not url.isprintable() or " " in url:
        raise ValueError(
            f"the endpoint URL is blank, or has white space or control characters: {url!r}"
        )
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as e:
        raise ValueError(f"the endpoint isn't a URL ({e})") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "the endpoint URL holds credentials; pass the key as api_key= or BASETEN_API_KEY"
        )
    if parts.scheme not in ("https", "wss", "http", "ws") or not host:
        raise ValueError(
            "the endpoint must be a full URL, such as "
            f"wss://model-abcd1234.{HOST}/environments/production/websocket; got {url!r}"
        )
    if "{" in url or "}" in url:
        raise ValueError(f"the endpoint URL has a placeholder left in it: {url!r}")
    if parts.scheme in ("http", "ws") and not is_loopback(host):
        raise ValueError(
            f"{parts.scheme}:// to {host} is refused: the API key would cross the network "
            f"unencrypted. Use {parts.scheme}s://"
        )
    if parts.fragment:
        raise ValueError("the endpoint URL has a fragment (#...), which is never sent")
    return parts


def check_id(value: str, name: str) -> str:
    """Check the id of a model, a chain or a deployment.

    Args:
        value: The id.
        name: The argument that it came in.

    Raises:
        ValueError: it isn't letters and digits.
    """
    if _ID.fullmatch(value):
        return value
    shown = "it is blank" if not value.strip() else f"got {value!r}"
    if "://" in value:
        hint = "a full URL goes into model_endpoint="
    elif value.startswith(("model-", "chain-")):
        hint = f"leave out the {value[:6]!r} in front"
    else:
        hint = "it stands in the deployment's URL on the Baseten dashboard"
    raise ValueError(
        f"{name} must be letters and digits only, such as 'abcd1234'; {shown} ({hint})"
    )


def check_environment(value: str) -> str:
    """Check the name of an environment.

    Raises:
        ValueError: it is none.
    """
    if not _ENVIRONMENT.fullmatch(value):
        raise ValueError(
            "environment must be a name of letters, digits, '-' and '_', such as 'production'; "
            f"got {value!r}"
        )
    return value
