"""Neither the key nor what is said shows in a log record, an exception or a recorded session."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contract.uses import ASKED, SAID, USES, Use
from livekit.agents import APIConnectOptions, APIError
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.script import Script
from livekit.plugins.baseten_tts import list_voices, register_voice, remove_voice

SECRET = "bt-secret-0123456789"
CONN = APIConnectOptions(max_retry=0, timeout=0.3)
ECHO = {"error": f"invalid request, key {SECRET}"}
FAULTS = {
    "refused": Fault(do="status", status=401, body=ECHO),
    "failed": Fault(do="status", status=500, body=f"boom {SECRET}"),
    "odd-answer": Fault(do="status", status=200, body=ECHO),
    "redirected": Fault(do="status", status=307, headers={"Location": "http://127.0.0.1:1/x"}),
    "never": Fault(do="park"),
    "reset": Fault(do="reset", on="send"),
    "close": Fault(do="close", on="send", code=1008, reason=f"bad key {SECRET}"),
    "error": Fault(do="send", payload={"type": "error", "message": f"bad key {SECRET}"}),
    "garbage": Fault(do="replace", on="send", payload="\x00}{", count=None),
}


def everything(error: BaseException) -> str:
    """All that the exceptions of a chain show, the hidden links followed too."""
    shown, seen, waiting = [], set(), [error]
    while waiting:
        exc = waiting.pop()
        if id(exc) in seen:
            continue
        seen.add(id(exc))
        shown += [repr(exc), str(exc), repr(vars(exc)), *traceback.format_exception(exc)]
        waiting += [e for e in (exc.__cause__, exc.__context__) if e is not None]
    return "\n".join(shown)


@pytest.fixture
async def sandbox(http_context: None, tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with Sandbox(
        transcriber="tones",
        synthesizer="tones",
        chat=Script(SAID, loop=True),
        api_key=SECRET,
        record=tmp_path / "sessions.jsonl",
    ) as sandbox:
        yield sandbox


def logged(caplog: pytest.LogCaptureFixture) -> str:
    # aiohttp's and the sandbox's own access log is the server's side.
    records = [r for r in caplog.records if not r.name.startswith(("aiohttp.access", "asyncio"))]
    parts = [f"{r.getMessage()} {r.__dict__}" for r in records]
    parts += [everything(r.exc_info[1]) for r in records if r.exc_info and r.exc_info[1]]
    return "\n".join(parts)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.name)
async def test_secrets_show_nowhere(
    use: Use, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    model: Any = use.make(sandbox)
    reported: list[Any] = []
    model.on("error", reported.append)
    shown = [repr(model), repr(vars(model))]
    for name, fault in FAULTS.items():
        sandbox.faults.clear()
        sandbox.faults.add(fault, times=None)
        try:
            await asyncio.wait_for(use.run(model, CONN), 20)
        except APIError as error:
            shown.append(everything(error))
        else:
            # Messages that a protocol doesn't wait for may pass unheeded.
            assert name in ("error", "close", "garbage", "odd-answer")
    sandbox.faults.clear()
    assert await use.run(model, APIConnectOptions(timeout=10)) == SAID
    shown += [repr(vars(event)) + everything(event.error) for event in reported]
    await model.aclose()
    assert len(reported) >= len(FAULTS) - 3
    for text in (*shown, logged(caplog)):
        assert SECRET not in text
        assert SAID not in text
        assert ASKED not in text
    recorded = (tmp_path / "sessions.jsonl").read_text().splitlines()
    # What the faults above have the server say is recorded too.
    of_client = [line for line in recorded if json.loads(line)["event"] in ("open", "received")]
    assert len(of_client) > len(FAULTS)
    assert not [line for line in of_client if SECRET in line]


async def test_secrets_show_nowhere_when_voices_fail(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    clip = tmp_path / "voice.wav"
    clip.write_bytes(b"RIFF")
    options: Any = {
        "model_endpoint": sandbox.qwen_tts_endpoint,
        "api_key": SECRET,
        "timeout": 0.3,
    }
    for fault in FAULTS.values():
        sandbox.faults.clear()
        sandbox.faults.add(fault, times=None)
        for asking in (
            list_voices(**options),
            register_voice(name="a", ref_audio_path=str(clip), ref_text=SAID, **options),
            remove_voice(name="a", **options),
        ):
            with pytest.raises(APIError) as caught:
                await asking
            for secret in (SECRET, SAID):
                assert secret not in everything(caught.value)
    for secret in (SECRET, SAID):
        assert secret not in logged(caplog)
