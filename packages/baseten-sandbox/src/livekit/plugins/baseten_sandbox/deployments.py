"""What is deployed: ids, kinds, and the state of each deployment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["DEFAULT_DEPLOYMENTS", "QWEN_VOICES", "Deployment", "Serves"]

Serves = Literal[
    "whisper",
    "qwen3-asr",
    "whisper-batch",
    "orpheus",
    "orpheus-ws",
    "qwen3-tts",
    "json-tts",
    "chat",
]

QWEN_VOICES = (
    "vivian",
    "serena",
    "uncle_fu",
    "dylan",
    "eric",
    "ryan",
    "aiden",
    "ono_anna",
    "sohee",
)
"""The speakers of the Qwen3-TTS CustomVoice checkpoints."""

_ID = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True)
class Deployment:
    """One model or chain of the sandbox.

    Attributes:
        id: Letters and digits only, as Baseten's ids are.
        serves: The protocol it speaks.
        kind: ``"model"`` or ``"chain"``; it decides the host and the HTTP route.
        environments: Environments it is promoted to.
        deployment_id: What stands in ``/deployment/{deployment_id}/``.
        state: ``"ready"``; ``"loading"`` refuses with 503; ``"asleep"`` parks callers for
            ``cold_start`` seconds after the first of them (or after ``/wake``); ``"deactivated"``
            answers 404; ``"unhealthy"`` answers 500.
        cold_start: Seconds that an asleep deployment takes to come up.
        websocket_route: ``"run_remote"`` gives a chain whose WebSocket answers there only.
        unknown_keys: Streaming Whisper: metadata keys that this deployment's runtime is too old to
            know, such as ``"show_word_timestamps"``. They are refused like any unknown key.
        one_shot: Qwen3-TTS: close after ``session.done`` instead of keeping the session.
        word_times: Qwen3-TTS: word times count from the first audio since the last
            ``session.done`` (``"global"``) or from each sentence's (``"sentence"``). Both are found
            on deployed servers.
        closed_config: Qwen3-TTS: an unknown configuration field, or ``split_granularity``, is an
            error instead of being ignored.
        voices: Qwen3-TTS: the voices that come with the model.
        aligner: Whether word times can be had where a deployment needs an aligner for them.
        audio_key: JSON TTS: the key that holds the base64 WAV.
    """

    id: str
    serves: Serves
    kind: Literal["model", "chain"] = "model"
    environments: tuple[str, ...] = ("production",)
    deployment_id: str = "deploy1"
    state: Literal["ready", "loading", "asleep", "deactivated", "unhealthy"] = "ready"
    cold_start: float = 1.0
    websocket_route: Literal["websocket", "run_remote"] = "websocket"
    unknown_keys: tuple[str, ...] = ()
    one_shot: bool = False
    word_times: Literal["global", "sentence"] = "global"
    closed_config: bool = False
    voices: tuple[str, ...] = QWEN_VOICES
    aligner: bool = True
    audio_key: Literal["base64", "audio", "output"] = "base64"

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} isn't a deployment id: use letters and digits only")
        if self.websocket_route == "run_remote" and self.kind != "chain":
            raise ValueError('websocket_route="run_remote" is for kind="chain" only')

    @property
    def host(self) -> str:
        """The host label, such as ``model-whisper1``."""
        return f"{self.kind}-{self.id}"

    @property
    def http_route(self) -> str:
        """``predict`` for a model, ``run_remote`` for a chain."""
        return "predict" if self.kind == "model" else "run_remote"


DEFAULT_DEPLOYMENTS: tuple[Deployment, ...] = (
    Deployment(id="whisper1", serves="whisper"),
    Deployment(id="whisper2", serves="whisper", kind="chain"),
    Deployment(id="whisper3", serves="whisper-batch"),
    Deployment(id="whisper4", serves="whisper-batch", kind="chain"),
    Deployment(id="qwenasr1", serves="qwen3-asr"),
    Deployment(id="orpheus1", serves="orpheus"),
    Deployment(id="orpheus2", serves="orpheus-ws"),
    Deployment(id="qwentts1", serves="qwen3-tts"),
    Deployment(id="qwentts2", serves="qwen3-tts", one_shot=True, word_times="sentence"),
    Deployment(id="kokoro1", serves="json-tts"),
    Deployment(id="llm1", serves="chat"),
)
