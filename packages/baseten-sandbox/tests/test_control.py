from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from livekit.plugins.baseten_sandbox import Fault, FaultPlan, Sandbox
from livekit.plugins.baseten_sandbox.control import load_fault_file, parse_fault, queue_faults


async def test_faults_are_queued_over_http(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    url = f"{sandbox.origin}/sandbox/faults"
    entries = [
        {"do": "status", "status": 429},
        {"faults": [{"do": "close", "code": 1013}], "deployment": "orpheus2", "times": 2},
    ]
    async with client.post(url, json=entries) as answer:
        assert await answer.json() == {"pending": 2}
    with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
        await client.ws_connect(sandbox.stt_endpoint)
    async with client.ws_connect(sandbox.tts_websocket_endpoint) as ws:
        assert (await ws.receive(timeout=10)).data == 1013
    async with client.delete(url) as answer:
        assert await answer.json() == {"pending": 0}


async def test_open_sockets_are_struck_and_sessions_listed_over_http(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        body = {"fault": {"do": "close", "code": 1012, "reason": ""}, "deployment": "whisper1"}
        async with client.post(f"{sandbox.origin}/sandbox/strike", json=body) as answer:
            assert await answer.json() == {"struck": 1}
        assert (await ws.receive(timeout=10)).data == 1012
    await sandbox.wait_sessions(1, closed=True)
    async with client.get(f"{sandbox.origin}/sandbox/sessions") as answer:
        (session,) = await answer.json()
    assert session["close_code"] == 1012
    assert session["closed_by"] == "fault"


async def test_a_deployment_changes_its_state_over_http(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    url = f"{sandbox.origin}/sandbox/deployment"
    async with client.post(url, json={"id": "orpheus1", "state": "loading"}) as answer:
        assert answer.status == 200
    async with client.post(sandbox.tts_endpoint, json={"prompt": "hi"}) as answer:
        assert answer.status == 503
    async with client.post(url, json={"id": "nosuch", "state": "loading"}) as answer:
        assert answer.status == 400
        assert "no deployment is called 'nosuch'" in (await answer.json())["error"]


async def test_control_needs_the_key_and_can_be_left_out(client: aiohttp.ClientSession) -> None:
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", control=False) as sandbox,
        client.get(f"{sandbox.origin}/sandbox/faults") as answer,
    ):
        assert answer.status == 404
    async with (
        Sandbox(transcriber="tones", synthesizer="tones") as sandbox,
        aiohttp.ClientSession() as stranger,
        stranger.delete(f"{sandbox.origin}/sandbox/faults") as answer,
    ):
        assert answer.status == 401


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"status": 500}, 'needs "do"'),
        ({"do": "reset", "when": 3}, "a fault has no when: there are after"),
        ({"do": "explode"}, "do is one of"),
        ({"do": "reset", "on": "tuesday"}, "on is one of"),
        ({"do": "reset", "after": "3"}, "after"),
        ({"do": "send", "payload_base64": "***"}, "not base64"),
        ({"faults": [], "often": 2}, "an entry has no often"),
        ({"random": {"rate": 0.5, "seed": 1}}, 'random needs "choices"'),
        ({"random": {"rate": 5, "seed": 1, "choices": [{"do": "reset"}]}}, "0 to 1"),
        ("reset", "must be a JSON object"),
    ],
)
async def test_a_mistake_is_told_and_queues_nothing(
    sandbox: Sandbox, client: aiohttp.ClientSession, wrong: Any, says: str
) -> None:
    entries = [{"do": "reset"}, wrong]
    async with client.post(f"{sandbox.origin}/sandbox/faults", json=entries) as answer:
        assert answer.status == 400
        assert says in (await answer.json())["error"]
    assert sandbox.faults.pending == 0


def test_a_binary_payload_is_given_in_base64() -> None:
    assert parse_fault({"do": "send", "payload_base64": "AAE="}) == Fault(
        do="send", payload=b"\x00\x01"
    )


def test_a_fault_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(json.dumps({"do": "reset"}))
    plan = FaultPlan()
    load_fault_file(path, plan)
    assert plan.pending == 1
    path.write_text("{")
    with pytest.raises(ValueError, match=r"faults\.json"):
        load_fault_file(path, plan)


def test_random_faults_can_be_given_as_json() -> None:
    plan = FaultPlan()
    queue_faults({"random": {"rate": 1.0, "seed": 3, "choices": [{"do": "mute"}]}}, plan)
    assert [f.do for f in plan.take(None, "http").begin("open")] in (["mute"], [])
