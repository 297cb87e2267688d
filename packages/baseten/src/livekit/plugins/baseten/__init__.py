"""Baseten plugin for LiveKit Agents: speech-to-text, text-to-speech and LLM on your deployments.

It re-exports the three components, each of which can be installed alone:
:mod:`livekit.plugins.baseten_stt`, :mod:`livekit.plugins.baseten_tts` and
:mod:`livekit.plugins.baseten_llm`.
"""

from livekit.plugins.baseten_common import logger, register_plugin
from livekit.plugins.baseten_llm import LLM, LLMModels
from livekit.plugins.baseten_stt import STT, SpeechStream, STTEncoding, STTModels
from livekit.plugins.baseten_tts import (
    TTS,
    ChunkedStream,
    SynthesizeStream,
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
    "STTEncoding",
    "STTModels",
    "SpeechStream",
    "SynthesizeStream",
    "TTSModels",
    "__version__",
    "list_voices",
    "logger",
    "register_voice",
    "remove_voice",
]

register_plugin(__name__, __version__, logger)
