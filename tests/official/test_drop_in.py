"""What works with the official plugin works with this one, but for what `MIGRATING.md` lists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak

from .conftest import ROOT, Environment

# Whichever comes first installs the official plugin, over a slow line perhaps.
pytestmark = pytest.mark.timeout(300)
PAGE = (ROOT / "MIGRATING.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The cells of the table that stands under a heading."""
    section = re.split(rf"^## {re.escape(heading)}$", PAGE, flags=re.M)[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return rows[2:]


def ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def surface_differences(theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    for name in theirs["names"] + theirs["properties"]:
        if name not in ours["names"] + ours["properties"]:
            yield name
    for name, members in theirs["choices"].items():
        yield from (f'{name} "{m}"' for m in members if m not in ours["choices"].get(name, ()))
    for name in theirs["modules"]:
        if name not in ours["modules"]:
            yield f"livekit.plugins.baseten.{name}"
    for name, parameters in theirs["functions"].items():
        if name not in ours["functions"]:
            yield f"{name}()"
            continue
        mine = ours["functions"][name]
        for argument, known in parameters.items():
            found = mine.get(argument)
            # One that had to be given may have a default now: every old call still works.
            if (
                found is None
                or found["kind"] != known["kind"]
                or (known["default"] is not None and found["default"] != known["default"])
            ):
                yield f"{name}({argument})"
        new = mine.keys() - parameters.keys()
        yield from (f"{name}({a})" for a in new if mine[a]["default"] is None)
    for protocol, told in theirs["capabilities"].items():
        for field, value in told.items():
            if ours["capabilities"][protocol][field] != value:
                yield f"{protocol}: {field}"


@pytest.fixture(scope="module")
def surfaces(official: Environment, ours: Environment) -> tuple[dict[str, Any], dict[str, Any]]:
    return official.run("surface.py"), ours.run("surface.py")


def test_the_page_lists_each_difference_of_the_surface(
    surfaces: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    listed = {name for row in table("Names, arguments, defaults") for name in ticked(row[0])}
    assert listed == set(surface_differences(*surfaces))


def test_the_page_gives_defaults_as_they_are(
    surfaces: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    compared = 0
    for names, *shown, _ in table("Names, arguments, defaults"):
        for name in ticked(names):
            match = re.fullmatch(r"([\w.]+)\((\w+)\)", name)
            functions = [surface["functions"] for surface in surfaces]
            if not match or any(match[2] not in f.get(match[1], {}) for f in functions):
                continue
            for function, cell in zip(functions, shown, strict=True):
                default = function[match[1]][match[2]]["default"]
                value = ticked(cell)[0]
                assert default == (value if value == "NOT_GIVEN" else repr(ast.literal_eval(value)))
                compared += 1
    assert compared


# What is done, where, with which options beside the key and the endpoint, and with what.
SPEECH = {"do": "stream", "pieces": ["Hello ", "there. "]}
SESSIONS: dict[str, list[dict[str, Any]]] = {
    "Whisper": [
        {"at": "stt_endpoint", "do": "transcribe", "finals": 1},
        {
            "at": "stt_endpoint",
            "do": "transcribe",
            "finals": 1,
            "options": {
                "language": "auto",
                "language_options": ["en", "de"],
                "enable_partial_transcripts": False,
                "partial_transcript_interval_s": 0.7,
                "final_transcript_max_duration_s": 12,
                "show_word_timestamps": False,
                "vad_threshold": 0.4,
                "vad_min_silence_duration_ms": 310,
                "vad_speech_pad_ms": 40,
            },
        },
    ],
    "Qwen3-ASR": [
        {"at": "qwen_stt_endpoint", "do": "transcribe", "options": {"model": "qwen3-asr"}},
        {
            "at": "qwen_stt_endpoint",
            "do": "transcribe",
            "options": {
                "model": "qwen3-asr",
                "language": "English",
                "enable_partial_transcripts": False,
                "partial_transcript_interval_s": 0.7,
                "final_transcript_max_duration_s": 12,
                "show_word_timestamps": True,
                "vad_threshold": 0.4,
                "vad_min_silence_duration_ms": 310,
                "vad_speech_pad_ms": 40,
            },
        },
    ],
    "Orpheus over HTTP": [
        {"at": "tts_endpoint", "do": "synthesize", "text": "Hello."},
        {
            "at": "tts_endpoint",
            "do": "synthesize",
            "text": "Hello.",
            "options": {"voice": "leo", "language": "de", "temperature": 0.5, "max_tokens": 900},
        },
    ],
    "Orpheus over a WebSocket": [
        {"at": "tts_websocket_endpoint", **SPEECH},
        {
            "at": "tts_websocket_endpoint",
            **SPEECH,
            "options": {"voice": "leo", "temperature": 0.5, "max_tokens": 900, "buffer_size": 5},
        },
    ],
    "Qwen3-TTS": [
        {
            "at": "qwen_tts_endpoint",
            **SPEECH,
            "options": {"model": "qwen3-tts", "voice": "vivian"},
        },
        {
            "at": "qwen_tts_endpoint",
            **SPEECH,
            "options": {
                "model": "qwen3-tts",
                "voice": "vivian",
                "language": "English",
                "task_type": "CustomVoice",
                "instructions": "calm",
                "max_new_tokens": 900,
                "initial_codec_chunk_frames": 3,
                "word_timestamps": True,
                "extra_config": {"seed": 1},
            },
        },
        {
            "at": "qwen_tts_endpoint",
            **SPEECH,
            "options": {
                "model": "qwen3-tts",
                "voice": "mine",
                "x_vector_only_mode": True,
                "ref_audio": "https://127.0.0.1/anna.wav",
                "ref_text": "so it is",
            },
        },
    ],
    "LLM": [
        {
            "at": "llm_base_url",
            "do": "chat",
            "text": "Hello!",
            "options": {"model": "openai/gpt-oss-120b"},
        },
        {
            "at": "llm_base_url",
            "do": "chat",
            "text": "Hello!",
            "options": {
                "model": "openai/gpt-oss-120b",
                "user": "anna",
                "temperature": 0.3,
                "top_p": 0.9,
                "reasoning_effort": "high",
                "tool_choice": "auto",
                "parallel_tool_calls": False,
            },
        },
    ],
}


async def opening(environment: Environment, session: dict[str, Any]) -> dict[str, Any]:
    """How a session begins: the path, how the key is presented, and the first message's keys."""
    job = {name: value for name, value in session.items() if name != "at"}
    if job["do"] == "transcribe":
        pcm = np.concatenate([speak("hello there")[0], silence(1.0)])
        path = environment.scratch / "question.pcm"
        path.write_bytes(pcm[: len(pcm) // 512 * 512].tobytes())
        job["audio"] = str(path)
    elif job["do"] != "chat":
        job["audio"] = str(environment.scratch / "answer.pcm")
    async with Sandbox(transcriber="tones", synthesizer="tones") as sandbox:
        argument = "base_url" if session["at"] == "llm_base_url" else "model_endpoint"
        job["options"] = {
            "api_key": sandbox.api_key,
            argument: getattr(sandbox, session["at"]),
            **session.get("options", {}),
        }
        await environment.use(**job)
        # Sockets that are dialled ahead come after the one that was needed.
        first = sandbox.sessions[0]
        return {"path": first.path, "Authorization": first.scheme, **first.received_json[0]}


@pytest.mark.parametrize("protocol", SESSIONS)
async def test_the_page_lists_each_difference_on_the_wire(
    official: Environment, ours: Environment, protocol: str
) -> None:
    different: set[str] = set()
    for session in SESSIONS[protocol]:
        theirs = await opening(official, session)
        mine = await opening(ours, session)
        different |= {k for k in theirs.keys() | mine.keys() if theirs.get(k) != mine.get(k)}
    listed = {
        key
        for protocols, keys, *_ in table("On the wire")
        for key in ticked(keys)
        if protocol in protocols.split(", ")
    }
    assert listed == different
