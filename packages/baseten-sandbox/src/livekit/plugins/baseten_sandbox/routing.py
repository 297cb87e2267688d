"""Baseten's URL layout: which deployment and route a request addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .deployments import Deployment

__all__ = ["MODEL_APIS_HOST", "Target", "find_target"]

MODEL_APIS_HOST = "inference.baseten.co"

_HOST = re.compile(r"(?P<label>(?:model|chain)-[^.]+)\.api\.baseten\.co(?::\d+)?")
_LABEL = re.compile(r"(?P<kind>model|chain)-(?P<id>[A-Za-z0-9]+)(?:-(?P<env>[A-Za-z0-9_-]+))?")


@dataclass(frozen=True)
class Target:
    """What a URL addresses.

    Attributes:
        deployment: The deployment, or ``None`` when there is none of that id (or no such
            environment of it).
        id: The id as it stands in the URL; ``None`` for the Model APIs.
        route: What follows the target prefix, such as ``websocket`` or ``sync/v1/models``.
        model_apis: Whether the Model APIs are addressed.
    """

    deployment: Deployment | None
    id: str | None
    route: str
    model_apis: bool = False


def find_target(host: str, path: str, deployments: Iterable[Deployment]) -> Target | None:
    """Read a request's Host header and path.

    A Baseten host name in the Host header decides; on any other host the first path segment stands
    for it (``/model-abc/environments/production/predict``), and ``/v1/…`` for the Model APIs.
    See https://docs.baseten.co/reference/inference-api/overview.

    Returns:
        The target, or ``None`` when the URL has no form that Baseten knows.
    """
    path = path.lstrip("/")
    host = host.lower()
    if host.split(":")[0] == MODEL_APIS_HOST or (
        not _HOST.fullmatch(host) and path.startswith("v1/")
    ):
        return Target(None, None, path, model_apis=True) if path.startswith("v1/") else None
    named = _HOST.fullmatch(host)
    if named:
        label, rest = named["label"], path
    else:
        label, _, rest = path.partition("/")
    match = _LABEL.fullmatch(label)
    if match is None:
        return None
    kind, id_, regional = match["kind"], match["id"], match["env"]
    # A host name has no case, so an id in one can't rely on it.
    found = next(
        (d for d in deployments if d.kind == kind and (d.id.lower() if named else d.id) == id_),
        None,
    )
    if regional is not None:
        here = found if found and regional in found.environments else None
        return Target(here, found.id if found else id_, rest)
    prefix, _, rest = rest.partition("/")
    if prefix == "v1":
        return Target(found, found.id if found else id_, f"sync/v1/{rest}")
    if prefix == "production":
        environment: str | None = "production"
    elif prefix == "environments":
        environment, _, rest = rest.partition("/")
    elif prefix == "deployment":
        wanted, _, rest = rest.partition("/")
        here = found if found and wanted == found.deployment_id else None
        return Target(here, found.id if found else id_, rest)
    elif prefix == "development":
        environment = None
    else:
        return None
    known = found.id if found else id_
    if found and environment is not None and environment not in found.environments:
        found = None
    return Target(found, known, rest)
