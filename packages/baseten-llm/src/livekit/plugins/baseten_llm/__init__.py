"""LLM for LiveKit Agents on Baseten's Model APIs and dedicated deployments."""

from .version import __version__

__all__ = ["__version__"]
