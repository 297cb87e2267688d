"""Baseten plugin for LiveKit Agents: speech-to-text, text-to-speech and LLM on your deployments.

It re-exports the three components, each of which can be installed alone:
:mod:`livekit.plugins.baseten_stt`, :mod:`livekit.plugins.baseten_tts` and
:mod:`livekit.plugins.baseten_llm`.
"""

from livekit.plugins.baseten_common import logger, register_plugin
from livekit.plugins.baseten_llm import LLM, LLMModels, LLMStream, ReasoningEffort
from livekit.plugins.baseten_stt import (
    STT,
    MetadataFormat,
    SpeechStream,
    STTEncoding,
    STTModels,
    WhisperSamplingParams,
)
from livekit.plugins.baseten_tts import (
    TTS,
    ChunkedStream,
    SynthesizeStream,
    Transports,
    TTSModels,
    list_voices,
    register_voice,
    remove_voice,
)

from .version import __version__

__all__ = [
    "LLM",
    "STT",
    "TTS",
    "ChunkedStream",
    "LLMModels",
    "LLMStream",
    "MetadataFormat",
    "ReasoningEffort",
    "STTEncoding",
    "STTModels",
    "SpeechStream",
    "SynthesizeStream",
    "TTSModels",
    "Transports",
    "WhisperSamplingParams",
    "__version__",
    "list_voices",
    "logger",
    "register_voice",
    "remove_voice",
]

register_plugin(__name__, __version__, logger)
