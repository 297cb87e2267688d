"""Where a model answers: builds, reads and checks every URL form that Baseten has.

The forms, for a model (a chain is the same with ``chain-`` and ``run_remote``):

==============  ===============================================================================
target          URL
==============  ===============================================================================
environment     ``https://model-{id}.api.baseten.co/environments/{environment}/{route}``
deployment      ``https://model-{id}.api.baseten.co/deployment/{deployment_id}/{route}``
development     ``https://model-{id}.api.baseten.co/development/{route}``
regional        ``https://model-{id}-{environment}.api.baseten.co/{route}``
==============  ===============================================================================

Sources: https://docs.baseten.co/reference/inference-api/overview,
https://docs.baseten.co/development/model/websockets,
https://docs.baseten.co/deployment/regional-environments.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .log import logger
from .urls import HOST, check_environment, check_id, check_url

__all__ = ["Endpoint", "Route"]

Route = Literal["predict", "run_remote", "websocket", "wake", "sync/v1"]

_NAME = r"(?P<kind>model|chain)-(?P<id>[A-Za-z0-9]+)(?:-(?P<region>[A-Za-z0-9_-]+))?"
_LABEL = re.compile(_NAME, re.IGNORECASE)
# A local stand-in for Baseten has one host for all, so there the label opens the path.
_PATH_LABEL = re.compile(rf"/{_NAME}(?=/|$)")
_TARGET = re.compile(
    r"/(?:environments/(?P<environment>[^/]+)|deployment/(?P<deployment>[^/]+)"
    r"|(?P<development>development)|(?P<production>production))(?=/|$)"
)
_ROUTE = re.compile(r"/(?P<route>predict|run_remote|websocket|wake|sync(?:/.*)?)/?")


@dataclass(frozen=True)
class Endpoint:
    """One deployment of a model or chain, and the URLs of its routes.

    Build it with :meth:`model`, :meth:`chain`, :meth:`parse` or :meth:`resolve`. It holds no key.

    Attributes:
        kind: ``model`` or ``chain``, or ``custom`` for a URL that isn't in a form of Baseten's.
        id: The model's or chain's id; blank for ``custom``.
        environment: Name of the environment; blank when another target is named.
        deployment_id: A fixed deployment, whatever environment it is in.
        development: The development deployment.
        regional: The environment's own host, which pins the region.
        url: The full URL as the user gave it, if one was given. It is used as it stands for the
            route that it names.
        origin: Scheme and host (and for a local stand-in, the first path segment) that the
            routes hang under. Blank for Baseten's own.
    """

    kind: Literal["model", "chain", "custom"]
    id: str = ""
    environment: str = "production"
    deployment_id: str = ""
    development: bool = False
    regional: bool = False
    url: str = field(default="", repr=False)  # a query may hold a token
    origin: str = ""

    def __post_init__(self) -> None:
        if self.kind == "custom":
            check_url(self.url)
            return
        check_id(self.id, f"{self.kind}_id")
        if self.deployment_id:
            check_id(self.deployment_id, "deployment_id")
        if self.environment:
            check_environment(self.environment)
        if sum((bool(self.environment), bool(self.deployment_id), self.development)) != 1:
            raise ValueError("name one of environment, deployment_id and development")
        if self.regional and not self.environment:
            raise ValueError("only an environment has a regional host")

    @classmethod
    def model(
        cls,
        model_id: str,
        *,
        environment: str | None = None,
        deployment_id: str | None = None,
        development: bool = False,
        regional: bool = False,
    ) -> Endpoint:
        """A model's deployment, by default the one in the ``production`` environment."""
        return cls._target("model", model_id, environment, deployment_id, development, regional)

    @classmethod
    def chain(
        cls,
        chain_id: str,
        *,
        environment: str | None = None,
        deployment_id: str | None = None,
        development: bool = False,
        regional: bool = False,
    ) -> Endpoint:
        """A chain's deployment, by default the one in the ``production`` environment."""
        return cls._target("chain", chain_id, environment, deployment_id, development, regional)

    @classmethod
    def _target(
        cls,
        kind: Literal["model", "chain"],
        id: str,
        environment: str | None,
        deployment_id: str | None,
        development: bool,
        regional: bool,
    ) -> Endpoint:
        if environment is None:
            environment = "" if deployment_id or development else "production"
        elif not environment:
            check_environment(environment)
        return cls(
            kind=kind,
            id=id.strip(),
            environment=environment,
            deployment_id=deployment_id or "",
            development=development,
            regional=regional,
        )

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Read a full URL. One that isn't in a form of Baseten's is kept as ``custom``.

        Raises:
            ValueError: the URL can't be used at all; see :func:`.check_url`.
        """
        parts = check_url(url)
        custom = cls(kind="custom", url=url)
        host = parts.hostname or ""
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        origin, path = f"{scheme}://{parts.netloc}", parts.path
        if host.endswith(f".{HOST}"):
            label = _LABEL.fullmatch(host[: -len(HOST) - 1])
        else:
            label = _PATH_LABEL.match(path)
            if label:
                origin, path = origin + label.group(), path[label.end() :]
        if not label:
            return custom
        region = label["region"]
        target = None if region else _TARGET.match(path)
        if not region and not target:
            return custom
        route = _ROUTE.fullmatch(path[target.end() :] if target else path)
        if not route:
            return custom
        environment, deployment_id, development = region or "", "", False
        if target:
            environment = target["environment"] or ("production" if target["production"] else "")
            deployment_id = target["deployment"] or ""
            development = target["development"] is not None
        try:
            return cls(
                kind="chain" if label["kind"].lower() == "chain" else "model",
                id=label["id"],
                environment=environment,
                deployment_id=deployment_id,
                development=development,
                regional=bool(region),
                url=url,
                origin=origin,
            )
        except ValueError:
            return custom

    @classmethod
    def resolve(
        cls,
        component: Literal["STT", "TTS", "LLM"],
        *,
        model_endpoint: str | None = None,
        model_id: str | None = None,
        chain_id: str | None = None,
        environment: str | None = None,
        deployment_id: str | None = None,
        development: bool = False,
        regional: bool = False,
    ) -> Endpoint | None:
        """The endpoint that a constructor's arguments or the environment variables name.

        The order is: ``model_endpoint``, ``model_id``, ``chain_id``; then the variables
        ``BASETEN_<component>_MODEL_ENDPOINT``, ``…_MODEL_ID``, ``…_CHAIN_ID``; then, for speech,
        ``BASETEN_MODEL_ENDPOINT``. A log line names the ids among the arguments that others go
        before.

        Returns:
            The endpoint, or None when nothing names one.

        Raises:
            ValueError: what names one is blank or malformed, or ``environment`` and its like name
                another target than a full URL does.
        """
        target = {
            "environment": environment,
            "deployment_id": deployment_id,
            "development": development,
            "regional": regional,
        }
        source = "model_endpoint="
        if model_endpoint is None and model_id is None and chain_id is None:
            prefix = f"BASETEN_{component}_"
            source = prefix + "MODEL_ENDPOINT"
            model_endpoint = os.environ.get(source) or None
            model_id = os.environ.get(prefix + "MODEL_ID") or None
            chain_id = os.environ.get(prefix + "CHAIN_ID") or None
            if not (model_endpoint or model_id or chain_id) and component != "LLM":
                source = "BASETEN_MODEL_ENDPOINT"
                model_endpoint = os.environ.get(source) or None
        else:
            named = {
                "model_endpoint=": model_endpoint,
                "model_id=": model_id,
                "chain_id=": chain_id,
            }
            first, *rest = (name for name, value in named.items() if value is not None)
            if rest:
                logger.warning("%s goes before %s, which is ignored", first, " and ".join(rest))
        if model_endpoint is not None:
            endpoint = cls.parse(model_endpoint)
            endpoint.check_target(source, target)
            return endpoint
        if model_id is not None:
            return cls._target("model", model_id, **target)  # type: ignore[arg-type]
        if chain_id is not None:
            return cls._target("chain", chain_id, **target)  # type: ignore[arg-type]
        return None

    def check_target(self, source: str, target: Mapping[str, str | bool | None]) -> None:
        """Refuse arguments that name another target than this URL, which is called as it stands.

        Args:
            source: The argument or variable that holds the URL, as the user knows it.
            target: ``environment``, ``deployment_id``, ``development`` and ``regional``, as in
                :meth:`model`.

        Raises:
            ValueError: one of them would have no effect.
        """
        ignored = [
            f"{name}="
            for name, value in target.items()
            if value not in (None, False)
            and (self.kind == "custom" or value != getattr(self, name))
        ]
        if ignored:
            raise ValueError(
                f"{source} is a full URL, which says by itself what is called: leave out "
                f"{' and '.join(ignored)}, or pass model_id= or chain_id= in place of the URL"
            )

    @staticmethod
    def missing(component: Literal["STT", "TTS"]) -> ValueError:
        """What to raise where :meth:`resolve` finds none and there is no other place to call."""
        variable = f"BASETEN_{component}_"
        return ValueError(
            "no deployment is named: pass model_endpoint=, model_id= or chain_id=, or set "
            f"{variable}MODEL_ENDPOINT, {variable}MODEL_ID, {variable}CHAIN_ID or "
            "BASETEN_MODEL_ENDPOINT"
        )

    @property
    def is_websocket(self) -> bool:
        """Whether the URL given is a ``ws://`` or ``wss://`` one."""
        return self.url.startswith(("ws:", "wss:"))

    def route(self, route: Route) -> str:
        """The ``http(s)://`` URL of a route, ``ws(s)://`` for ``websocket``.

        Raises:
            ValueError: the endpoint is a custom URL, of which other routes aren't known.
        """
        if self.kind == "custom":
            raise ValueError(f"no {route} URL is known beside {self}")
        origin = self.origin
        if not origin:
            region = f"-{self.environment}" if self.regional else ""
            origin = f"https://{self.kind}-{self.id}{region}.{HOST}"
        if route == "websocket":
            origin = "ws" + origin[len("http") :]
        if self.regional:
            return f"{origin}/{route}"
        if self.deployment_id:
            return f"{origin}/deployment/{self.deployment_id}/{route}"
        if self.development:
            return f"{origin}/development/{route}"
        return f"{origin}/environments/{self.environment}/{route}"

    def post_url(self) -> str:
        """The URL of a synchronous request: as given, else ``predict`` or ``run_remote``."""
        if self.url and not self.is_websocket:
            return self.url
        return self.route("run_remote" if self.kind == "chain" else "predict")

    def websocket_urls(self) -> tuple[str, ...]:
        """The WebSocket URLs to try, in order.

        A chain has a second one, since older guides print ``run_remote`` where the present
        reference says ``websocket``.
        """
        if self.kind == "custom":
            scheme = {"http:": "ws:", "https:": "wss:"}
            head, rest = self.url.split("/", 1)
            return (f"{scheme.get(head, head)}/{rest}",)
        documented = self.route("websocket")
        first = self.url if self.is_websocket else documented
        if self.kind != "chain":
            return (first,)
        older = documented[: -len("websocket")] + "run_remote"
        return (first, *(url for url in (documented, older) if url != first))[:2]

    def __str__(self) -> str:
        if self.url:
            return self.url.partition("?")[0]
        target = self.deployment_id or self.environment or "development"
        return f"{self.kind} {self.id} ({target})"
