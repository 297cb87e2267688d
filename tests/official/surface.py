"""Prints the public surface of ``livekit.plugins.baseten`` as JSON, whichever plugin that is."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import pkgutil
from collections.abc import Callable
from typing import Any, get_args, is_typeddict

from livekit.plugins import baseten

WEBSOCKET = "wss://model-abcd1234.api.baseten.co/environments/production/websocket"
HTTP = "https://model-abcd1234.api.baseten.co/environments/production/predict"


def parameters(function: Callable[..., Any]) -> dict[str, dict[str, str | None]]:
    """Kind and default of each; the default of one that must be given is None."""
    return {
        p.name: {
            "kind": p.kind.name,
            "default": None if p.default is p.empty else repr(p.default),
        }
        for p in inspect.signature(function).parameters.values()
        if p.name != "self"
    }


def capabilities() -> dict[str, Any]:
    """What sessions are told about each protocol, all options left alone."""
    made: dict[str, baseten.STT | baseten.TTS] = {
        "Whisper": baseten.STT(api_key="key", model_endpoint=WEBSOCKET),
        "Qwen3-ASR": baseten.STT(api_key="key", model_endpoint=WEBSOCKET, model="qwen3-asr"),
        "Orpheus over HTTP": baseten.TTS(api_key="key", model_endpoint=HTTP),
        "Orpheus over a WebSocket": baseten.TTS(api_key="key", model_endpoint=WEBSOCKET),
        "Qwen3-TTS": baseten.TTS(
            api_key="key", model_endpoint=WEBSOCKET, model="qwen3-tts", voice="anna"
        ),
    }
    told: dict[str, Any] = {}
    for name, one in made.items():
        told[name] = {**dataclasses.asdict(one.capabilities), "model": one.model}
        told[name]["provider"] = one.provider
        if isinstance(one, baseten.TTS):
            told[name] |= {"sample_rate": one.sample_rate, "num_channels": one.num_channels}
    return told


async def surface() -> dict[str, Any]:
    choices: dict[str, list[Any]] = {}
    functions: dict[str, Any] = {}
    properties: list[str] = []
    for name in baseten.__all__:
        value = getattr(baseten, name)
        if is_typeddict(value):
            continue  # a type of ours, without a signature; the official plugin has none
        if inspect.isclass(value):
            functions[name] = parameters(value)
            for member in (m for m in dir(value) if not m.startswith("_")):
                found = inspect.getattr_static(value, member)
                if inspect.isfunction(found):
                    functions[f"{name}.{member}"] = parameters(found)
                else:
                    properties.append(f"{name}.{member}")
        elif inspect.isfunction(value):
            functions[name] = parameters(value)
        elif get_args(value):
            choices[name] = list(get_args(value))
    return {
        "names": sorted(baseten.__all__),
        "functions": functions,
        "properties": properties,
        "choices": choices,
        "modules": [m.name for m in pkgutil.iter_modules(baseten.__path__) if m.name[0] != "_"],
        "capabilities": capabilities(),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(surface())))
