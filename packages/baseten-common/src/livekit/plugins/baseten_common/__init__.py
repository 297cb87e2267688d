"""What the Baseten plugins for LiveKit Agents share: API key, endpoint URLs, error mapping, transport."""

from .version import __version__

__all__ = ["__version__"]
