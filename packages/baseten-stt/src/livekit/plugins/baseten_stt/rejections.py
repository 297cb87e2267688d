"""What a broken connection means: a fault that passes, or a configuration that is refused."""

from __future__ import annotations

from livekit.agents import APIError
from livekit.plugins.baseten_common import Closed, errors

from .link import Link
from .protocols.transcription import WHAT

__all__ = ["Rejections"]


class Rejections:
    """How often in a row connections were closed with 1011 before the server said anything."""

    def __init__(self) -> None:
        """None yet."""
        self._count = 0

    def forget(self) -> None:
        """Note that the server has said something, and so accepted the configuration."""
        self._count = 0

    def broken(self, link: Link, closed: Closed) -> APIError:
        """The error for a connection that closed before its end."""
        error = link.ws.error(closed)
        if closed.code != 1011 or link.heard:
            return error
        # Refused metadata looks like this, and so does a model that fails: one more try tells.
        self._count += 1
        keys = ", ".join(link.protocol.configured())
        return errors.from_finding(
            "configuration rejected: the deployment closed the connection with 1011 before any "
            f"answer. Sent were {keys}. An older runtime refuses newer keys, and a deployment of "
            "another kind refuses them all",
            what=WHAT,
            mismatch=self._count > 1,
            status_code=closed.code,
            request_id=link.ws.request_id,
        )
