"""Which models a target serves, as it says itself under ``GET /models``."""

from __future__ import annotations

from dataclasses import dataclass

from livekit.plugins.baseten_common import timeout

from .access import Access
from .failures import failure_of
from .models import family_of

__all__ = ["Served"]

_TIMEOUT = 30.0


@dataclass(frozen=True)
class Served:
    """What a target serves.

    Attributes:
        names: The slug of each model that can be asked for, and what was loaded to serve it where
            the server says so: vLLM, for one, calls that its root.
    """

    names: dict[str, str]

    @classmethod
    async def ask(cls, access: Access) -> Served:
        """Ask for the list, which costs no token.

        Raises:
            APIError: the listing failed, or took more than 30 seconds.
        """
        try:
            async with timeout(_TIMEOUT):
                page = await access.client.models.list()
            return cls({m.id: str(getattr(m, "root", None) or m.id) for m in page.data})
        except Exception as exc:
            # A 404 is no model's here, so it is told as that of any server.
            failure = failure_of(exc, model="", dedicated=True, seconds=_TIMEOUT, key=access.key)
        raise failure

    def starts_thinking(self, model: str) -> bool | None:
        """Whether a model's answers begin inside its reasoning, as far as its true name tells.

        Args:
            model: What it is asked for by. Where one model is served alone, that need be no name
                of its.
        """
        names = self.names
        name = next(iter(names.values())) if len(names) == 1 else names.get(model, "")
        return family_of(name).starts_thinking
