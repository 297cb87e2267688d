"""Whatever goes wrong, in any order: the sandbox itself goes on and forgets nothing."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import read, silence, speak

CHOICES = [
    Fault(do="reset", on="receive"),
    Fault(do="eof", on="send"),
    Fault(do="close", on="receive", code=1013),
    Fault(do="silence", on="receive"),
    Fault(do="mute", on="receive"),
    Fault(do="drop", on="send"),
    Fault(do="duplicate", on="receive"),
    Fault(do="replace", on="send", payload="{"),
    Fault(do="send", payload=b"\0"),
    Fault(do="status", status=502),
    Fault(do="finish", on="send"),
]


async def hear(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    pcm = np.concatenate([speak("a b c")[0], silence(0.5)]).tobytes()
    patience = aiohttp.ClientWSTimeout(ws_close=0.2)
    async with client.ws_connect(sandbox.stt_endpoint, timeout=patience) as ws:
        await ws.send_json({})
        for at in range(0, len(pcm) - 1023, 1024):
            await ws.send_bytes(pcm[at : at + 1024])
        await ws.send_json({"type": "end_audio"})
        while True:
            message = await ws.receive(timeout=0.5)
            if message.type is not aiohttp.WSMsgType.TEXT or "finished" in message.data:
                return


async def say(client: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    async with client.post(sandbox.tts_endpoint, json={"prompt": "a b c"}) as answer:
        await asyncio.wait_for(answer.read(), 0.5)


@pytest.mark.parametrize("seed", range(3))
async def test_random_faults_leave_a_sandbox_that_works(
    sandbox: Sandbox, client: aiohttp.ClientSession, seed: int
) -> None:
    sandbox.faults.at_random(CHOICES, rate=0.7, seed=seed, spread=30)
    for _ in range(4):
        work = [hear(client, sandbox) for _ in range(4)] + [say(client, sandbox) for _ in range(4)]
        await asyncio.gather(*work, return_exceptions=True)
    struck = [fault for session in sandbox.sessions for fault in session.faults]
    assert len(set(struck)) >= 4
    sandbox.faults.clear()
    async with client.post(sandbox.tts_endpoint, json={"prompt": "still here"}) as answer:
        assert [w.text for w in read(await answer.read(), rate=24000)] == ["still", "here"]
    await sandbox.wait_for(
        lambda: all(s.closed for s in sandbox.sessions if "silence" not in s.faults)
    )


async def test_a_client_that_vanishes_at_any_moment_is_closed_in_the_record(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    for after in range(0, 60, 7):
        with contextlib.suppress(aiohttp.ClientError):
            ws = await client.ws_connect(sandbox.stt_endpoint)
            await ws.send_json({})
            for _ in range(after):
                await ws.send_bytes(speak("x")[0].tobytes()[:1024])
            transport = ws.get_extra_info("socket")
            assert transport is not None
            assert ws._response.connection is not None
            assert ws._response.connection.transport is not None
            ws._response.connection.transport.abort()
            await ws.close()
    for session in await sandbox.wait_sessions(9, closed=True):
        assert (session.closed_by, session.close_code) == ("client", 1006)
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)
