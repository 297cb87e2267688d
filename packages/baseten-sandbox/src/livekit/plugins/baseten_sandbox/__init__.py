"""A local stand-in for Baseten: its wire protocols on small real models, with faults on request."""

from .version import __version__

__all__ = ["__version__"]
