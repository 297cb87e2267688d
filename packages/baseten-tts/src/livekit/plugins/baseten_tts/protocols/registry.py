from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..lines import KeepAlive, Line
from ..models import TTSModels
from ..options import Options
from . import Predict, Utterance
from .http_audio import GenericPredict
from .orpheus import OrpheusPredict, OrpheusUtterance
from .qwen3_tts import KEEP_ALIVE, Qwen3Utterance, session_config

__all__ = ["DIALECTS", "Dialect"]


@dataclass(frozen=True)
class Dialect:
    """What the plugin needs to know of a model's protocol.

    Attributes:
        voice: The default voice; None when there is none and one must be named.
        language: The default language; None when none is sent.
        options: The options that have a meaning for it.
        websocket: Makes the state of an utterance for a connection; None without WebSockets.
        http: Makes the requests; None without HTTP.
        config: The configuration of a session that is sent as soon as a connection is open, given
            the reference audio; None when there is none.
        keep_alive: How an idle session is kept from ending.
        one_shot: Whether the server takes one utterance a connection; None when servers differ.
    """

    voice: str | None
    language: str | None
    options: frozenset[str]
    websocket: Callable[[Options, Line], Utterance] | None = None
    http: Callable[[Options], Predict] | None = None
    config: Callable[[Options, str | None], str] | None = None
    keep_alive: KeepAlive | None = None
    one_shot: bool | None = True


DIALECTS: dict[TTSModels, Dialect] = {
    "orpheus": Dialect(
        voice="tara",
        language="en",
        options=frozenset(
            {"temperature", "max_tokens", "buffer_size", "top_p", "repetition_penalty"}
            | {"max_chunk_size"}
        ),
        websocket=lambda options, line: OrpheusUtterance(options),
        http=OrpheusPredict,
    ),
    "qwen3-tts": Dialect(
        voice=None,
        language="Auto",
        options=frozenset(
            {"task_type", "instructions", "max_new_tokens", "initial_codec_chunk_frames"}
            | {"x_vector_only_mode", "ref_audio", "ref_text", "word_timestamps", "extra_config"}
        ),
        websocket=lambda options, line: Qwen3Utterance(options, owed=line.owed, used=line.uses > 0),
        config=session_config,
        keep_alive=KeepAlive('{"type": "input.done"}', "session.done", KEEP_ALIVE),
        one_shot=None,
    ),
    "generic": Dialect(
        voice="",
        language=None,
        options=frozenset({"text_field", "voice_field", "extra_body", "sample_rate"}),
        http=GenericPredict,
    ),
}
