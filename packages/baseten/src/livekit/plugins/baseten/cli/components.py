"""The components, as the command line and the environment name them."""

from __future__ import annotations

import argparse
import inspect
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from livekit.agents import NOT_GIVEN
from livekit.plugins.baseten_common import ApiKey, Endpoint
from livekit.plugins.baseten_llm import LLM
from livekit.plugins.baseten_llm.targets import Target
from livekit.plugins.baseten_stt import STT
from livekit.plugins.baseten_tts import TTS, TTSModels
from livekit.plugins.baseten_tts.checks import over_websocket
from livekit.plugins.baseten_tts.protocols.registry import DIALECTS

__all__ = ["Components", "Part"]

Part = Literal["STT", "TTS", "LLM"]

_T = TypeVar("_T")
_FOLLOWED = ("environment", "deployment_id", "development", "regional")


class Components:
    """Makes each component with the options that were given, and tells where it calls."""

    def __init__(self, given: argparse.Namespace) -> None:
        """Take the parsed command line; nothing is checked yet."""
        self._given = given

    def key(self) -> ApiKey:
        """The API key, which comes from the environment alone: others can read a command line.

        Raises:
            ValueError: there is none.
        """
        if not os.environ.get("BASETEN_API_KEY", "").strip():
            raise ValueError("BASETEN_API_KEY isn't set, or is blank")
        return ApiKey.resolve()

    def stt(self) -> STT:
        """Speech-to-text.

        Raises:
            ValueError: an option can't be used.
        """
        return _make(STT, self._options("stt"), "stt")

    def tts(self) -> TTS:
        """Text-to-speech, without connections dialled ahead, which would hide what one costs.

        Raises:
            ValueError: an option can't be used.
        """
        return _make(TTS, {"warm_sockets": 0, **self._options("tts")}, "tts")

    def llm(self) -> LLM:
        """The language model.

        Raises:
            ValueError: an option can't be used.
        """
        return _make(LLM, self._options("llm"), "llm")

    def endpoint(self, part: Literal["STT", "TTS"]) -> Endpoint | None:
        """Where a part calls; None when nothing says.

        Raises:
            ValueError: what says it is malformed.
        """
        options = self._options(part.lower())
        names = ("model_endpoint", "model_id", "chain_id", *_FOLLOWED)
        return Endpoint.resolve(part, **{name: options[name] for name in names if name in options})

    def target(self) -> Target:
        """Where the language model is asked.

        Raises:
            ValueError: what says it is malformed.
        """
        options = self._options("llm")
        names = ("base_url", "model_id", "chain_id", *_FOLLOWED)
        return Target.resolve(**{name: options[name] for name in names if name in options})

    def tts_streams(self, endpoint: Endpoint) -> bool:
        """Whether text-to-speech calls that endpoint over a WebSocket.

        Raises:
            ValueError: the options and the URL contradict each other.
        """
        options = self._options("tts")
        model: TTSModels = options.get("model", "orpheus")
        transport = options.get("transport", NOT_GIVEN)
        return over_websocket(model, DIALECTS[model], endpoint, transport)

    def auth_scheme(self, part: Part) -> Any:
        """How the key is presented."""
        return self._options(part.lower()).get("auth_scheme", "Bearer")

    def _options(self, part: str) -> dict[str, Any]:
        given = vars(self._given)
        options = {
            name.removeprefix(f"{part}_"): value
            for name, value in given.items()
            if name.startswith(f"{part}_") and name != f"{part}_option" and value is not None
        }
        for name in ("environment", "auth_scheme"):
            if given.get(name) is not None:
                options[name] = given[name]
        if not _named_by_id(part, options):
            options.pop("environment", None)  # a URL holds it, and the Model APIs have none
        return {**options, **_further(given.get(f"{part}_option") or [], part)}


def _named_by_id(part: str, options: Mapping[str, Any]) -> bool:
    """Whether a deployment's id, rather than a full URL, says what a part calls."""
    if options.keys() & {"model_endpoint", "base_url"}:
        return False
    if options.keys() & {"model_id", "chain_id"}:
        return True
    prefix = f"BASETEN_{part.upper()}_"
    urls = [prefix + "MODEL_ENDPOINT"] + ["BASETEN_BASE_URL"] * (part == "llm")
    ids = (prefix + "MODEL_ID", prefix + "CHAIN_ID")
    return not any(map(os.environ.get, urls)) and any(map(os.environ.get, ids))


def _further(texts: list[str], part: str) -> Mapping[str, Any]:
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f"--{part}-option takes name=value; got {text!r}")
        if name == "api_key":
            raise ValueError("the key isn't taken from the command line: set BASETEN_API_KEY")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def _make(kind: Callable[..., _T], options: Mapping[str, Any], part: str) -> _T:
    known = inspect.signature(kind).parameters
    for name in options:
        if name not in known:
            raise ValueError(f"--{part}-option: there is no option {name!r}")
    try:
        return kind(**options)
    except TypeError as e:
        named = ", ".join(options)
        raise ValueError(f"one of {named} has the wrong kind of value: {e}") from None
