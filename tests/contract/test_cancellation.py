"""Whoever walks away, at any await of the caller's or of the component's own, leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from livekit.agents import APIConnectOptions, APIError, tts as agents_tts
from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_tts import list_voices, register_voice, remove_voice

from .uses import SAID, USES, WARM, Use, heard

CONN = APIConnectOptions(max_retry=0, timeout=10.0)
BOUND = 20.0

_step: ContextVar[Callable[[], None] | None] = ContextVar("step", default=None)


class Counted(Coroutine[Any, Any, Any]):
    """A coroutine that tells of each of its awaits that has to wait."""

    def __init__(self, coro: Coroutine[Any, Any, Any], step: Callable[[], None]) -> None:
        self._coro = coro
        self._step = step

    def send(self, value: Any) -> Any:
        waits_for = self._coro.send(value)
        self._step()
        return waits_for

    def throw(self, *args: Any) -> Any:
        waits_for = self._coro.throw(*args)
        self._step()
        return waits_for

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Iterator[Any]:
        raise NotImplementedError


def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    if (step := _step.get()) is not None:
        coro = Counted(coro, step)
    return asyncio.Task(coro, loop=loop, **options)


async def cancelled_at(number: int, use: Callable[[], Coroutine[Any, Any, Any]]) -> bool:
    """Cancel a use when it, and all tasks that it starts, have waited so often; whether it was."""
    loop = asyncio.get_running_loop()
    waits = 0
    task: asyncio.Task[Any] | None = None

    def step() -> None:
        nonlocal waits
        waits += 1
        if waits == number and task is not None:
            loop.call_soon(task.cancel)

    loop.set_task_factory(factory)
    token = _step.set(step)
    try:
        task = asyncio.create_task(use())
        _step.reset(token)
        done, _ = await asyncio.wait([task], timeout=BOUND)
    finally:
        loop.set_task_factory(None)
    assert done, f"cancelled at await {number}, it goes on"
    if task.cancelled():
        return True
    assert task.result() == SAID
    return False


@pytest.mark.parametrize("use", USES + WARM, ids=lambda use: use.name)
async def test_cancelled_at_any_await(use: Use, sandbox: Sandbox, watch) -> None:
    watched = watch(use.make(sandbox))
    number = 1
    while await cancelled_at(number, lambda: use.run(watched.model, CONN)):
        number += 1
    assert number > 3
    assert await asyncio.wait_for(use.run(watched.model, CONN), BOUND) == SAID
    assert not watched.errors
    await watched.model.aclose()
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)


@pytest.mark.parametrize("what", ["list", "register", "remove"])
async def test_managing_voices_cancelled_at_any_await(
    what: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    clip = tmp_path / "me.wav"
    clip.write_bytes(b"RIFF of my voice")
    here: dict[str, Any] = {
        "model_endpoint": sandbox.qwen_tts_endpoint,
        "api_key": sandbox.api_key,
    }

    async def ask() -> str:
        if what == "list":
            await list_voices(**here)
        elif what == "register":
            await register_voice(**here, name="me", ref_audio_path=str(clip))
        else:
            with contextlib.suppress(APIError):  # there is none
                await remove_voice(**here, name="me")
        return SAID

    number = 1
    while await cancelled_at(number, ask):
        number += 1
    assert number > 3
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)


@pytest.mark.parametrize(
    "use",
    [
        use
        for use in USES
        if use.name in ("orpheus-http-synthesize", "orpheus-ws-synthesize", "qwen3-tts-synthesize")
    ],
    ids=lambda use: use.name,
)
async def test_sentence_by_sentence_cancelled_at_any_await(
    use: Use, sandbox: Sandbox, watch: Any
) -> None:
    watched = watch(use.make(sandbox))
    adapter = agents_tts.StreamAdapter(tts=watched.model)

    async def speak() -> str:
        async with adapter.stream(conn_options=CONN) as stream:
            stream.push_text(f"{SAID}.")
            stream.end_input()
            said = heard(b"".join([bytes(event.frame.data) async for event in stream]))
        return said.rstrip(".")

    number = 1
    while await cancelled_at(number, speak):
        number += 1
    assert number > 3
    assert not watched.errors
    await adapter.aclose()
    await watched.model.aclose()
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)
