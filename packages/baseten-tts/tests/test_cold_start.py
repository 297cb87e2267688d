"""A deployment that is scaled to zero or still loading is waited for, if that is wanted."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from livekit.agents import APIConnectOptions, APIError, APITimeoutError
from livekit.plugins.baseten_sandbox import Fault, Sandbox

from .conftest import Listen, Make

BOUND = 30.0  # seconds; only a hang reaches it
HASTY = APIConnectOptions(max_retry=3, retry_interval=0.01, timeout=0.3)
NOT_READY = Fault(do="status", status=503, body={"error": "Model with name model is not ready."})
BOTH = pytest.mark.parametrize("over", ["http", "websocket"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livekit.plugins.baseten_common.transport._COLD_START_PAUSE", 0.01)
    monkeypatch.setattr("livekit.plugins.baseten_common.cold_start._REPORT", 0.05)


def put_to_sleep(sandbox: Sandbox, over: str) -> None:
    name = "orpheus1" if over == "http" else "orpheus2"
    sandbox.deploy(replace(sandbox.deployment(name), state="asleep", cold_start=1.0))


@BOTH
@pytest.mark.parametrize("prewarmed", [True, False])
async def test_one_that_parks_its_callers_is_waited_for_in_sight(
    make: Make,
    listen: Listen,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    over: str,
    prewarmed: bool,
) -> None:
    caplog.set_level(logging.INFO, logger="livekit.plugins")
    put_to_sleep(sandbox, over)
    tts = make(over, cold_start_timeout=BOUND)
    errors: list[object] = []
    tts.on("error", errors.append)
    if prewarmed:
        tts.prewarm()
        if over == "websocket":
            await sandbox.wait_sessions(1)
    said = listen(tts, "Good morning, my friend.", conn_options=HASTY)
    assert await asyncio.wait_for(said, BOUND) == ["Good", "morning,", "my", "friend."]
    assert errors == []
    assert any(s.received_texts for s in sandbox.sessions[:1])  # nobody else was asked first
    assert "as when the deployment is starting" in caplog.text


@BOTH
async def test_one_that_refuses_as_not_ready_is_asked_again(
    make: Make, listen: Listen, sandbox: Sandbox, over: str
) -> None:
    sandbox.faults.add(NOT_READY, times=5)
    tts = make(over, cold_start_timeout=BOUND)
    options = APIConnectOptions(max_retry=0, timeout=5.0)
    said = listen(tts, "Good morning, my friend.", conn_options=options)
    assert await asyncio.wait_for(said, BOUND) == ["Good", "morning,", "my", "friend."]
    assert len(sandbox.sessions) >= 6


@BOTH
async def test_it_is_not_waited_for_longer_than_that_whatever_the_retries(
    make: Make, listen: Listen, sandbox: Sandbox, over: str
) -> None:
    sandbox.faults.add(Fault(do="park"), times=None)
    tts = make(over, warm_sockets=0, cold_start_timeout=0.5)
    with pytest.raises(APITimeoutError, match=r"didn't answer within 0\.5 s") as caught:
        await asyncio.wait_for(listen(tts, "Good morning.", conn_options=HASTY), BOUND)
    assert not caught.value.retryable
    assert len(sandbox.sessions) == 1


@BOTH
async def test_a_refusal_to_the_end_is_told(
    make: Make, listen: Listen, sandbox: Sandbox, over: str
) -> None:
    sandbox.faults.add(NOT_READY, times=None)
    tts = make(over, warm_sockets=0, cold_start_timeout=0.3)
    with pytest.raises(APIError, match=r"not ready.*didn't answer within 0\.3 s") as caught:
        await asyncio.wait_for(listen(tts, "Good morning.", conn_options=HASTY), BOUND)
    assert not caught.value.retryable


@BOTH
async def test_by_default_that_is_left_to_the_connect_options(
    make: Make, listen: Listen, sandbox: Sandbox, over: str
) -> None:
    sandbox.faults.add(Fault(do="park"), times=2)
    tts = make(over, warm_sockets=0)
    said = listen(tts, "Good morning.", conn_options=HASTY)
    assert await asyncio.wait_for(said, BOUND) == ["Good", "morning."]
    assert len(sandbox.sessions) == 3


@BOTH
async def test_once_it_answers_silence_is_a_fault_again(
    make: Make, listen: Listen, sandbox: Sandbox, over: str
) -> None:
    sandbox.faults.add(Fault(do="mute", on="send", kind="binary", after=2))
    tts = make(over, warm_sockets=0, cold_start_timeout=600.0)
    with pytest.raises(APITimeoutError) as caught:
        await asyncio.wait_for(
            listen(tts, "one two three four five six", conn_options=HASTY), BOUND
        )
    assert not caught.value.retryable  # a part was heard


def test_it_can_t_be_negative(make: Make) -> None:
    with pytest.raises(ValueError, match="cold_start_timeout"):
        make(cold_start_timeout=-1.0)
