"""The page at the sandbox's root: what it allows itself, and who may use it."""

from __future__ import annotations

import base64
import hashlib
import re

import aiohttp
import pytest

from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.page.origins import is_loopback
from livekit.plugins.baseten_sandbox.page.turns import Turns


async def test_the_page_forbids_all_but_its_own(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as http, http.get(sandbox.origin + "/") as response:
        html = await response.text()
        assert response.status == 200
        assert response.content_type == "text/html"
        policy = dict(
            part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; ")
        )
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[directive].split()
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", html)
    assert sandbox.api_key not in html
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "rebound.example:8700",
        "127.0.0.1.example",
        "localhost.example",
        "10.0.0.7",
        "x; script-src *@127.0.0.1",
        "model-whisper1.api.baseten.co",
    ],
)
async def test_a_foreign_host_name_is_refused(sandbox: Sandbox, host: str) -> None:
    async with aiohttp.ClientSession(headers={"Host": host}) as http:
        async with http.get(sandbox.origin + "/") as response:
            assert response.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(sandbox.origin + "/talk", headers={"Origin": f"http://{host}"})
    assert refused.value.status == 403


@pytest.mark.parametrize(
    "origin", [None, "null", "http://rebound.example", "http://127.0.0.1:1", "https://{host}"]
)
async def test_only_the_page_itself_may_talk(sandbox: Sandbox, origin: str | None) -> None:
    host = sandbox.origin.removeprefix("http://")
    headers = {} if origin is None else {"Origin": origin.format(host=host)}
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(sandbox.origin + "/talk", headers=headers)
    assert refused.value.status == 403


async def test_localhost_is_this_machine_too(sandbox: Sandbox) -> None:
    headers = {"Host": f"localhost:{sandbox.port}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(sandbox.origin + "/") as response,
    ):
        assert response.status == 200


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("0.0.0.0", False),
        ("192.168.1.2", False),
        ("localhost.example", False),
        ("", False),
        (None, False),
    ],
)
def test_what_loopback_is(name: str | None, expected: bool) -> None:
    assert is_loopback(name) is expected


async def test_a_plain_request_to_talk_is_told_so(sandbox: Sandbox) -> None:
    headers = {"Origin": sandbox.origin}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.get(sandbox.origin + "/talk") as response,
    ):
        assert response.status == 426


# --- the picture of a turn


def test_a_turn_in_the_usual_order() -> None:
    turns = Turns()
    turns.final(10.4)
    turn = turns.committed(10.5, speech_end=10.0)
    assert turns.first_token(10.5, 10.6) is turn
    assert turns.first_audio(10.8) is turn
    assert turns.heard(10.85) is turn
    assert turn.message() == {
        "number": 1,
        "typed": False,
        "stages": [
            {"stage": "final", "start": 0, "end": 400},
            {"stage": "turn_end", "start": 400, "end": 500},
            {"stage": "first_token", "start": 500, "end": 600},
            {"stage": "first_audio", "start": 600, "end": 800},
            {"stage": "heard", "start": 800, "end": 850},
        ],
    }
    assert turns.first_audio(20.0) is None  # only the first of a turn counts


def test_a_token_that_came_before_the_turn_was_over() -> None:
    turns = Turns()
    turns.final(10.4)
    assert turns.first_token(10.41, 10.45) is None
    turn = turns.committed(10.9, speech_end=10.0)
    stages = {stage["stage"]: stage for stage in turn.message()["stages"]}
    assert stages["first_token"] == {"stage": "first_token", "start": 410, "end": 450}


def test_a_token_of_a_turn_long_past_is_left_out() -> None:
    turns = Turns()
    turns.first_token(1.0, 1.1)
    turn = turns.committed(10.5, speech_end=10.0)
    assert [stage["stage"] for stage in turn.message()["stages"]] == ["turn_end"]


def test_a_typed_turn_counts_from_its_coming() -> None:
    turns = Turns()
    turn = turns.committed(10.0, speech_end=None)
    turns.first_audio(10.2)
    assert turns.answered(0.05, 0.1) is turn
    assert turn.message()["typed"] is True
    assert turn.message()["stages"] == [
        {"stage": "first_token", "start": 50, "end": 100},
        {"stage": "first_audio", "start": 100, "end": 200},
    ]
