"""What the Baseten plugins for LiveKit Agents share: API key, endpoints, errors, transport."""

from . import errors
from .credentials import ApiKey, AuthScheme
from .deadlines import MIN_BYTES_PER_SECOND, timeout
from .endpoints import Endpoint
from .http_stream import HTTPStream
from .log import logger
from .registration import register_plugin
from .transport import Transport
from .version import __version__
from .websocket import Closed, WebSocket

__all__ = [
    "MIN_BYTES_PER_SECOND",
    "ApiKey",
    "AuthScheme",
    "Closed",
    "Endpoint",
    "HTTPStream",
    "Transport",
    "WebSocket",
    "__version__",
    "errors",
    "logger",
    "register_plugin",
    "timeout",
]
