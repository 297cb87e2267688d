"""Where things are: the URLs of a sandbox's deployments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from .deployments import Deployment, Serves

__all__ = ["Addresses"]


class Addresses:
    """The deployments of a sandbox and their URLs.

    Args:
        host: Address listened on.
        port: Port listened on.
        tls: Whether URLs are ``https`` and ``wss``.
        deployments: What is deployed.

    Raises:
        ValueError: Two deployments are of the same kind and id.
    """

    def __init__(
        self, *, host: str, port: int, tls: bool, deployments: Iterable[Deployment]
    ) -> None:
        self.host = host
        self.port = port
        self._tls = tls
        self._deployments: dict[str, Deployment] = {}
        for deployment in deployments:
            if deployment.host in self._deployments:
                raise ValueError(f"two deployments are called {deployment.host}: ids must differ")
            self._deployments[deployment.host] = deployment

    def _origin(self, scheme: Literal["http", "ws"]) -> str:
        return f"{scheme}{'s' if self._tls else ''}://{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port, such as ``http://127.0.0.1:8700``."""
        return self._origin("http")

    def deployment(self, id: str) -> Deployment:
        """The deployment of that id.

        Raises:
            ValueError: There is none.
        """
        for deployment in self._deployments.values():
            if deployment.id == id:
                return deployment
        known = ", ".join(d.id for d in self._deployments.values())
        raise ValueError(f"no deployment is called {id!r}; there are {known}")

    def deploy(self, deployment: Deployment) -> None:
        """Add a deployment, or put it in the place of the one of its kind and id."""
        self._deployments[deployment.host] = deployment

    def url(self, deployment_id: str, route: str, *, environment: str = "production") -> str:
        """The URL of a route of a deployment.

        Args:
            deployment_id: Its id.
            route: ``"websocket"`` gives a ``ws`` URL, anything else an ``http`` one.
            environment: The environment.
        """
        deployment = self.deployment(deployment_id)
        is_socket = route == "websocket" or (
            route == deployment.websocket_route and deployment.serves in ("whisper", "qwen3-asr")
        )
        origin = self._origin("ws" if is_socket else "http")
        return f"{origin}/{deployment.host}/environments/{environment}/{route}"

    def _first(self, serves: Serves) -> str:
        for deployment in self._deployments.values():
            if deployment.serves == serves:
                return deployment.id
        raise ValueError(f"no deployment serves {serves!r}")

    @property
    def stt_endpoint(self) -> str:
        """WebSocket URL of the first streaming Whisper."""
        return self.url(self._first("whisper"), "websocket")

    @property
    def qwen_stt_endpoint(self) -> str:
        """WebSocket URL of the first Qwen3-ASR."""
        return self.url(self._first("qwen3-asr"), "websocket")

    @property
    def tts_endpoint(self) -> str:
        """HTTP URL of the first Orpheus that is served over HTTP."""
        id_ = self._first("orpheus")
        return self.url(id_, self.deployment(id_).http_route)

    @property
    def tts_websocket_endpoint(self) -> str:
        """WebSocket URL of the first Orpheus that is served over a WebSocket."""
        return self.url(self._first("orpheus-ws"), "websocket")

    @property
    def qwen_tts_endpoint(self) -> str:
        """WebSocket URL of the first Qwen3-TTS."""
        return self.url(self._first("qwen3-tts"), "websocket")

    @property
    def llm_base_url(self) -> str:
        """Base URL of the Model APIs."""
        return f"{self.origin}/v1"
