"""The way to a host: its name, TCP and TLS, each by itself."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from livekit.plugins.baseten_common import timeout as deadline

__all__ = ["Line", "connect", "secure"]

_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}


@dataclass(frozen=True)
class Line:
    """An address that answers.

    Attributes:
        host: Its name.
        family: The family of its address.
        address: The address, as sockets take it.
        resolved: Seconds that the name took.
        secure: Whether TLS comes next.
    """

    host: str
    family: int
    address: Any
    resolved: float
    secure: bool


async def connect(url: str, *, timeout: float) -> Line:
    """Find a host and open a TCP connection to it, which is closed again.

    Args:
        url: A URL on the host.
        timeout: Seconds for each of the two.

    Raises:
        OSError: it isn't found, or doesn't answer.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    try:
        async with deadline(timeout):
            found = await loop.getaddrinfo(
                host, parts.port or _PORTS[parts.scheme], type=socket.SOCK_STREAM
            )
    except asyncio.TimeoutError:
        raise OSError(None, f"the name {host} wasn't resolved within {timeout:g} s") from None
    resolved = time.perf_counter() - start
    failure = OSError(None, f"no address of {host} answers within {timeout:g} s")
    for family, _, _, _, address in found:
        try:
            (await _open(family, address, timeout / len(found))).close()
        except asyncio.TimeoutError:
            continue
        except OSError as e:
            failure = e
            continue
        return Line(host, family, address, resolved, parts.scheme in ("https", "wss"))
    raise failure


async def secure(line: Line, session: aiohttp.ClientSession, *, timeout: float) -> str:
    """Shake hands with TLS, with the trust of the session that the components use.

    Args:
        line: Where to.
        session: The session.
        timeout: Seconds.

    Returns:
        The version and what the certificate says.

    Raises:
        OSError: the handshake failed; ssl.SSLCertVerificationError when the chain isn't trusted.
    """
    # Held by aiohttp as private; a context of our own could trust otherwise than the components.
    held = getattr(session.connector, "_ssl", None)
    context = held if isinstance(held, ssl.SSLContext) else ssl.create_default_context()
    loop = asyncio.get_running_loop()
    try:
        sock = await _open(line.family, line.address, timeout)
        async with deadline(timeout):
            transport, _ = await loop.create_connection(
                asyncio.Protocol, sock=sock, ssl=context, server_hostname=line.host
            )
    except asyncio.TimeoutError:
        raise OSError(None, f"no TLS handshake within {timeout:g} s") from None
    try:
        return _described(transport.get_extra_info("ssl_object"))
    finally:
        transport.abort()


def _described(tls: ssl.SSLObject) -> str:
    certificate = tls.getpeercert() or {}
    names: Any = certificate.get("issuer", ())
    issuer = {name: value for group in names for name, value in group}
    words = [tls.version() or "TLS"]
    if by := issuer.get("organizationName") or issuer.get("commonName"):
        words.append(f"certificate by {by}")
    if until := certificate.get("notAfter"):
        days = (ssl.cert_time_to_seconds(str(until)) - time.time()) / 86400
        words.append(f"valid for {days:.0f} more days")
    return ", ".join(words)


async def _open(family: int, address: Any, timeout: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        async with deadline(timeout):
            await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
