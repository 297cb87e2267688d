"""Who may use the page: a browser on this very machine, on the page's own origin."""

from __future__ import annotations

import ipaddress
import re

from aiohttp import web

__all__ = ["is_loopback", "refusal"]

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d+)?")


def is_loopback(name: str | None) -> bool:
    """Whether a host name or address means this machine.

    Args:
        name: A name or an IP address without a port; an IPv6 address with or without brackets.
    """
    if not name:
        return False
    name = name.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def refusal(request: web.Request, *, cross_site: bool = False) -> str | None:
    """Why a request may not use the page, or ``None`` when it may.

    The page speaks with the sandbox's key, and a WebSocket isn't bound by the same-origin policy,
    so any site that is open in the same browser could talk to the agent. Three checks keep it out:
    the peer's address (the sandbox may listen on more than loopback), the Host header (a foreign
    name that resolves to 127.0.0.1, DNS rebinding), and the Origin header.

    Args:
        request: The request.
        cross_site: Whether a request without an Origin header may pass, as a navigation has none.
    """
    if not is_loopback(request.remote):
        return "The page is for browsers on the machine that runs the sandbox."
    named = _HOST.fullmatch(request.host)
    if named is None or not is_loopback(named["name"]):
        return "The page answers to localhost and 127.0.0.1 only."
    origin = request.headers.get("Origin")
    if origin is None:
        return None if cross_site else "A browser sends an Origin header; this request has none."
    if origin.lower() != f"{request.scheme}://{request.host}".lower():
        return "Another site's page may not use this one."
    return None
