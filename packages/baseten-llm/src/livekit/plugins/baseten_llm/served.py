"""Which models a target serves, as it says itself under ``GET /models``."""

from __future__ import annotations

from dataclasses import dataclass

import openai

from .models import family_of

__all__ = ["LIST_TIMEOUT", "Served"]

LIST_TIMEOUT = 30.0
"""Seconds to wait for the list."""


@dataclass(frozen=True)
class Served:
    """What a target serves.

    Attributes:
        names: The slug of each model that can be asked for, and what was loaded to serve it where
            the server says so: vLLM, for one, calls that its root.
    """

    names: dict[str, str]

    @classmethod
    async def ask(cls, client: openai.AsyncClient) -> Served:
        """Ask for the list, which costs no token.

        Raises:
            Exception: whatever the client raises, or reading its answer.
        """
        page = await client.models.list(timeout=LIST_TIMEOUT)
        return cls({model.id: str(getattr(model, "root", None) or model.id) for model in page.data})

    def starts_thinking(self, model: str) -> bool | None:
        """Whether a model's answers begin inside its reasoning, as far as its true name tells.

        Args:
            model: What it is asked for by. Where one model is served alone, that need be no name
                of its.
        """
        names = self.names
        name = next(iter(names.values())) if len(names) == 1 else names.get(model, "")
        return family_of(name).starts_thinking
