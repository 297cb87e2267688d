"""How an LLM reaches what it asks: where that is, through which client, and with whose key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import openai

from livekit.plugins.baseten_common import ApiKey, AuthScheme

from .client import baseten_client
from .targets import Target

__all__ = ["Access"]


@dataclass(frozen=True)
class Access:
    """How a target is reached.

    Attributes:
        target: Where requests go.
        client: Carries them.
        key: What the client presents, to be kept out of messages; None if it presents none.
        owned: Whether the client was made here, and is closed here.
    """

    target: Target
    client: openai.AsyncClient
    key: ApiKey | None
    owned: bool

    @classmethod
    def make(
        cls, *, api_key: str | None, auth_scheme: AuthScheme, max_retries: int, **where: Any
    ) -> Access:
        """Make a client for a target. Nothing is dialled.

        Args:
            api_key: Baseten API key; else ``BASETEN_API_KEY``.
            auth_scheme: How it is presented.
            max_retries: Tries of the client itself.
            **where: See :meth:`Target.resolve`.

        Raises:
            ValueError: there is no key, or the target can't be used.
        """
        target = Target.resolve(**where)
        key = ApiKey.resolve(api_key)
        client = baseten_client(
            base_url=target.base_url, key=key, auth_scheme=auth_scheme, max_retries=max_retries
        )
        return cls(target, client, key, owned=True)

    @classmethod
    def by(cls, client: openai.AsyncClient) -> Access:
        """Ask by a client of the caller's own, wherever it asks."""
        key = ApiKey(client.api_key) if client.api_key else None
        return cls(Target(str(client.base_url)), client, key, owned=False)

    @property
    def dedicated(self) -> bool:
        """Whether a dedicated deployment is asked, rather than the Model APIs or another server."""
        return self.target.endpoint is not None
