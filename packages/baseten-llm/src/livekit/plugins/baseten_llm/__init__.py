"""LLM for LiveKit Agents on Baseten's Model APIs and dedicated deployments."""

from livekit.plugins.baseten_common import register_plugin

from .llm import LLM
from .log import logger
from .models import LLMModels, ReasoningEffort
from .stream import LLMStream
from .version import __version__

__all__ = ["LLM", "LLMModels", "LLMStream", "ReasoningEffort", "__version__"]

register_plugin(__name__, __version__, logger)
