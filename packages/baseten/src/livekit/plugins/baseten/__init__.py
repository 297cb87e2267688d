"""Baseten plugin for LiveKit Agents: speech-to-text, text-to-speech and LLM on your own deployments."""

from .version import __version__

__all__ = ["__version__"]
