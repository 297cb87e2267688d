"""Where an LLM's requests go: the Model APIs, a dedicated deployment, or any URL."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from livekit.plugins.baseten_common import Endpoint

__all__ = ["MODEL_APIS", "Target"]

MODEL_APIS = "https://inference.baseten.co/v1"
"""The Model APIs (https://docs.baseten.co/inference/model-apis/overview)."""

_VARIABLE = "BASETEN_BASE_URL"


@dataclass(frozen=True)
class Target:
    """Where requests go.

    Attributes:
        base_url: Up to and including ``/v1``.
        endpoint: The dedicated deployment behind the URL, if it is one.
    """

    base_url: str
    endpoint: Endpoint | None = None

    @property
    def is_model_apis(self) -> bool:
        """Whether the Model APIs answer, rather than a server of somebody's own."""
        return urlsplit(self.base_url).hostname == urlsplit(MODEL_APIS).hostname

    @classmethod
    def resolve(
        cls,
        *,
        base_url: str | None = None,
        model_id: str | None = None,
        chain_id: str | None = None,
        environment: str | None = None,
        deployment_id: str | None = None,
        development: bool = False,
        regional: bool = False,
    ) -> Target:
        """The target that the arguments name, else the environment, else the Model APIs.

        Raises:
            ValueError: the arguments contradict each other, or what they name can't be used.
        """
        if base_url is not None and (model_id is not None or chain_id is not None):
            raise ValueError("name base_url= or model_id=/chain_id=, not both")
        if model_id is not None and chain_id is not None:
            raise ValueError("name model_id= or chain_id=, not both")
        source = "base_url="
        if base_url is None and model_id is None and chain_id is None:
            source = _VARIABLE
            base_url = os.environ.get(source) or None
        where: dict[str, Any] = {
            "environment": environment,
            "deployment_id": deployment_id,
            "development": development,
            "regional": regional,
        }
        if base_url is not None:
            target = cls._of_url(base_url)
            Endpoint.parse(base_url).check_target(source, where)
            return target
        endpoint = Endpoint.resolve("LLM", model_id=model_id, chain_id=chain_id, **where)
        if endpoint is None:
            if environment is not None or deployment_id is not None or development or regional:
                raise ValueError("environment, deployment_id, … need model_id= or chain_id=")
            return cls(MODEL_APIS)
        if endpoint.url:
            return cls._of_url(endpoint.url)
        return cls(endpoint.route("sync/v1"), endpoint)

    @classmethod
    def _of_url(cls, url: str) -> Target:
        endpoint = Endpoint.parse(url)
        path = urlsplit(url).path.rstrip("/")
        if endpoint.is_websocket:
            raise ValueError(f"an LLM is reached over https://, not a WebSocket: {endpoint}")
        if path.endswith("/chat/completions"):
            raise ValueError(f"base_url ends before /chat/completions: got {endpoint}")
        if endpoint.kind == "custom":
            return cls(url)
        if "/sync" not in path:
            raise ValueError(
                f"an LLM's base_url ends in sync/v1, such as {endpoint.route('sync/v1')}: "
                f"got {endpoint}"
            )
        return cls(url, endpoint)
