"""A certificate for loopback, made on the spot."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

__all__ = ["Authority"]


class Authority:
    """A certificate authority that lives as long as the sandbox.

    Args:
        hosts: Names and addresses that the server certificate is for.
    """

    def __init__(self, *hosts: str) -> None:
        self._ca = trustme.CA()
        self._server = self._ca.issue_cert(*hosts)

    def server_context(self) -> ssl.SSLContext:
        """The server's side of TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.configure_cert(context)
        return context

    def write_bundle(self, path: Path) -> None:
        """Write the authority's certificate, for ``SSL_CERT_FILE``."""
        self._ca.cert_pem.write_to_path(str(path))
