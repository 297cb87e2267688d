"""Text-to-speech for LiveKit Agents on models deployed on Baseten."""

from .version import __version__

__all__ = ["__version__"]
