"""Speech-to-text for LiveKit Agents on models deployed on Baseten.

:class:`STT` speaks the streaming Whisper and Qwen3-ASR protocols of Baseten. See
https://docs.baseten.co/reference/inference-api/predict-endpoints/streaming-transcription-api.
"""

from livekit.plugins.baseten_common import register_plugin

from .log import logger
from .models import MetadataFormat, STTEncoding, STTModels
from .options import WhisperSamplingParams
from .stream import SpeechStream
from .stt import STT
from .version import __version__

__all__ = [
    "STT",
    "MetadataFormat",
    "STTEncoding",
    "STTModels",
    "SpeechStream",
    "WhisperSamplingParams",
    "__version__",
    "logger",
]

register_plugin(__name__, __version__, logger)
