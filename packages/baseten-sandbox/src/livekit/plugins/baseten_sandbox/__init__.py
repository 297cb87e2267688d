"""A local stand-in for Baseten: its wire protocols on small real models, with faults on request."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .background import BackgroundSandbox
    from .deployments import DEFAULT_DEPLOYMENTS, Deployment
    from .faults import Fault, FaultPlan
    from .records import Message, SessionRecord
    from .sandbox import Sandbox

__all__ = [
    "DEFAULT_DEPLOYMENTS",
    "BackgroundSandbox",
    "Deployment",
    "Fault",
    "FaultPlan",
    "Message",
    "Sandbox",
    "SessionRecord",
    "__version__",
]

_HOMES = {
    "BackgroundSandbox": "background",
    "DEFAULT_DEPLOYMENTS": "deployments",
    "Deployment": "deployments",
    "Fault": "faults",
    "FaultPlan": "faults",
    "Message": "records",
    "Sandbox": "sandbox",
    "SessionRecord": "records",
}


def __getattr__(name: str) -> Any:
    # Looked up when asked for: pytest loads the plugin in this package in every session, and one
    # that uses no sandbox shouldn't pay for a web server.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
