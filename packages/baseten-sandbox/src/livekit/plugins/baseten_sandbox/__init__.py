"""A local stand-in for Baseten: its wire protocols on small real models, with faults on request."""

from .deployments import DEFAULT_DEPLOYMENTS, Deployment
from .faults import Fault, FaultPlan
from .records import Message, SessionRecord
from .sandbox import Sandbox
from .version import __version__

__all__ = [
    "DEFAULT_DEPLOYMENTS",
    "Deployment",
    "Fault",
    "FaultPlan",
    "Message",
    "Sandbox",
    "SessionRecord",
    "__version__",
]
