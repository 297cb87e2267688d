"""What the options of a TTS must be, together and with the endpoint."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, get_args

from livekit.agents.types import NotGivenOr
from livekit.agents.utils import is_given
from livekit.plugins.baseten_common import Endpoint

from .log import logger
from .models import Transports, TTSModels
from .options import Options
from .protocols.registry import Dialect
from .session import check_clip

__all__ = ["aligned", "check", "default", "over_websocket", "warn_of_ignored"]


def default(value: NotGivenOr[str | None], fallback: str | None) -> str | None:
    """The value given, else the fallback."""
    return value if is_given(value) else fallback


def aligned(dialect: Dialect, over_websocket: bool, options: Options) -> bool:
    """Whether pieces of the text come with their times."""
    # Over HTTP each sentence comes with the time at which it begins.
    return not over_websocket or ("word_timestamps" in dialect.options and options.word_timestamps)


def check(model: TTSModels, dialect: Dialect, options: Options) -> None:
    """Check that the model can speak with these options.

    Raises:
        ValueError: it can't.
    """
    # A designed voice has no name: it is made up from its description.
    designed = options.task_type == "VoiceDesign" and options.instructions
    if dialect.voice is None and not (options.voice or options.ref_audio or designed):
        raise ValueError(
            f"{model} has no default voice: pass voice= (see register_voice) or ref_audio=, "
            "or instructions= for VoiceDesign"
        )
    if "ref_audio" in dialect.options:
        check_clip(options.ref_audio)
    for name in ("extra_config", "extra_body"):
        try:
            json.dumps(getattr(options, name))
        except (TypeError, ValueError) as e:
            raise ValueError(f"{name} can't be sent as JSON: {e}") from None


def over_websocket(
    model: TTSModels, dialect: Dialect, endpoint: Endpoint, transport: NotGivenOr[Transports]
) -> bool:
    """Whether the deployment is called over a WebSocket.

    Raises:
        ValueError: the model, the URL and the transport don't go together.
    """
    if is_given(transport) and transport not in get_args(Transports):
        raise ValueError(f"transport must be one of {get_args(Transports)}; got {transport!r}")
    wanted = transport if is_given(transport) else None
    if dialect.http is None or dialect.websocket is None:
        only: Transports = "http" if dialect.http else "websocket"
        if wanted not in (None, only) or (only == "http" and endpoint.is_websocket):
            raise ValueError(f"{model} is called over {only} only")
        return only == "websocket"
    if endpoint.url:
        if wanted is not None and (wanted == "websocket") != endpoint.is_websocket:
            raise ValueError(f"transport={wanted!r} contradicts the endpoint's URL: {endpoint}")
        return endpoint.is_websocket
    return wanted == "websocket"


def warn_of_ignored(
    model: TTSModels,
    dialect: Dialect,
    options: Options,
    *,
    only: Mapping[str, object] | None = None,
) -> None:
    """Name the options that have no meaning for the model; only those given, if that is known."""
    ignored = [
        field.name
        for field in dataclasses.fields(options)
        if field.name not in dialect.options
        and field.name not in ("voice", "language")
        and (only is None or field.name in only)
        and getattr(options, field.name) != _unset(field)
    ]
    if ignored:
        logger.warning("model %r doesn't use: %s", model, ", ".join(ignored))


def _unset(field: dataclasses.Field[Any]) -> object:
    return {} if field.default is dataclasses.MISSING else field.default
