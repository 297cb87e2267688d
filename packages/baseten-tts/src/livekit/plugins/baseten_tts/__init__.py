"""Text-to-speech for LiveKit Agents on models deployed on Baseten."""

from livekit.plugins.baseten_common import register_plugin

from .chunked import ChunkedStream
from .log import logger
from .models import Transports, TTSModels
from .stream import SynthesizeStream
from .tts import TTS
from .version import __version__
from .voices import list_voices, register_voice, remove_voice

__all__ = [
    "TTS",
    "ChunkedStream",
    "SynthesizeStream",
    "TTSModels",
    "Transports",
    "__version__",
    "list_voices",
    "logger",
    "register_voice",
    "remove_voice",
]

register_plugin(__name__, __version__, logger)
