import logging

__all__ = ["logger"]

logger = logging.getLogger("livekit.plugins.baseten.stt")
