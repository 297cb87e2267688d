from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak
from livekit.plugins.baseten_sandbox.faults import ConnectionFaults, FaultPlan

HEALTH = {"type": "health_check"}
FINAL = {"type": "transcription", "is_final": True}


async def say(ws: aiohttp.ClientWebSocketResponse, words: str) -> None:
    pcm = bytes(speak(words)[0].tobytes() + silence(0.5).tobytes())
    pcm += b"\0" * (-len(pcm) % 1024)
    for at in range(0, len(pcm), 1024):
        await ws.send_bytes(pcm[at : at + 1024])


async def test_a_sequence_of_handshake_statuses_then_success(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(Fault(do="status", status=429, headers={"Retry-After": "7"}))
    sandbox.faults.add(Fault(do="status", status=504, body="upstream timed out"))
    for status, retry_after in ((429, "7"), (504, None)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(sandbox.stt_endpoint)
        assert refused.value.status == status
        assert refused.value.headers is not None
        assert refused.value.headers.get("Retry-After") == retry_after
        assert refused.value.headers["X-BASETEN-REQUEST-ID"]
    async with client.ws_connect(sandbox.stt_endpoint):
        pass
    assert sandbox.faults.pending == 0


async def test_a_parked_handshake_is_never_answered(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(Fault(do="park"))
    dial = asyncio.create_task(client.ws_connect(sandbox.stt_endpoint).__aenter__())
    await sandbox.wait_for(lambda: sandbox.sessions and sandbox.sessions[0].faults == ["park"])
    assert not dial.done()
    dial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dial
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert session.closed_by == "client"


@pytest.mark.parametrize("status", [None, 504])
async def test_a_handshake_can_be_parked_for_a_while(
    sandbox: Sandbox, client: aiohttp.ClientSession, status: int | None
) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    if status is None:
        sandbox.faults.add(Fault(do="park", seconds=0.1))
        async with client.ws_connect(sandbox.stt_endpoint):
            pass
    else:
        sandbox.faults.add(Fault(do="park", seconds=0.1, status=status, body="no replica"))
        with pytest.raises(aiohttp.WSServerHandshakeError, match="504"):
            await client.ws_connect(sandbox.stt_endpoint)
    assert loop.time() - began >= 0.09


@pytest.mark.parametrize("do", ["reset", "eof"])
async def test_the_connection_ends_without_a_close_frame(
    sandbox: Sandbox, client: aiohttp.ClientSession, do: Any
) -> None:
    sandbox.faults.add(Fault(do=do, on="receive", after=3))
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json({})
        await ws.send_json(HEALTH)
        assert (await ws.receive_json(timeout=10))["type"] == "health_check"
        await ws.send_json(HEALTH)
        message = await ws.receive(timeout=10)
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert (session.closed_by, session.close_code) == ("fault", 1006)
    assert len(session.received_texts) == 3


async def test_a_close_with_any_code_and_reason(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(Fault(do="close", code=1013, reason="try again later"))
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        message = await ws.receive(timeout=10)
        assert (message.data, message.extra) == (1013, "try again later")


async def test_mute_reads_on_and_pongs_but_never_answers(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(Fault(do="mute"))
    async with client.ws_connect(sandbox.stt_endpoint, autoping=False) as ws:
        await ws.send_json({})
        await ws.send_json(HEALTH)
        await ws.ping(b"there?")
        assert (await ws.receive(timeout=10)).type is aiohttp.WSMsgType.PONG
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert session.pings == 1
    assert len(session.received_texts) == 2
    assert session.messages == [m for m in session.messages if m.direction == "received"]


async def test_silence_does_not_even_pong(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.faults.add(Fault(do="silence", on="receive", after=1))
    async with client.ws_connect(sandbox.stt_endpoint, heartbeat=0.1) as ws:
        await ws.send_json({})
        message = await ws.receive(timeout=10)
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert sandbox.open_sockets == 1


async def test_finals_can_be_doubled_dropped_and_replaced(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(
        Fault(do="duplicate", on="send", match=FINAL),
        Fault(do="drop", on="send", match=FINAL, after=1),
        Fault(do="replace", on="send", match=FINAL, after=2, payload="{garbled"),
    )
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json({})
        for words in ("one", "two", "three", "four"):
            await say(ws, words)
        texts = [await ws.receive_str(timeout=10) for _ in range(4)]
    assert ["one" in t for t in texts] == [True, True, False, False]
    assert texts[2] == "{garbled"
    assert "four" in texts[3]


async def test_messages_come_in_the_wrong_order(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(
        Fault(do="swap", on="send", match=FINAL), Fault(do="swap", on="send", match="finished")
    )
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json({})
        for words in ("one", "two"):
            await say(ws, words)
        texts = [await ws.receive_str(timeout=10) for _ in range(2)]
        assert ["one" in t for t in texts] == [False, True]
        await ws.send_json({"type": "end_audio"})
        assert "acknowledged" in await ws.receive_str(timeout=10)
        await ws.send_json(HEALTH)
        kinds = [(await ws.receive_json(timeout=10))["type"] for _ in range(2)]
        assert kinds == ["health_check", "end_audio"]


async def test_an_extra_frame_of_any_shape(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.faults.add(
        Fault(do="send", payload={"type": "error", "message": "no capacity"}),
        Fault(do="send", payload=b"\x00\x01"),
    )
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        assert await ws.receive_json(timeout=10) == {"type": "error", "message": "no capacity"}
        assert await ws.receive_bytes(timeout=10) == b"\x00\x01"


async def test_open_sockets_can_be_struck_at_any_time(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.tts_websocket_endpoint) as ws:
        await sandbox.wait_for(lambda: sandbox.open_sockets == 1)
        assert await sandbox.strike(Fault(do="close", code=1012, reason="")) == 1
        assert (await ws.receive(timeout=10)).data == 1012
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)


@pytest.mark.parametrize("do", ["reset", "eof"])
async def test_a_body_is_cut_at_exactly_that_byte(
    sandbox: Sandbox, client: aiohttp.ClientSession, do: Any
) -> None:
    sandbox.faults.add(Fault(do=do, on="send", after=10_001, unit="bytes"))
    async with client.post(sandbox.tts_endpoint, json={"prompt": "a b c d"}) as answer:
        assert answer.status == 200
        received = b""
        with pytest.raises(aiohttp.ClientError):
            async for piece in answer.content.iter_any():
                received += piece
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert len(session.sent_audio) == 10_001
    if do == "eof":
        assert len(received) == 10_001


@pytest.mark.parametrize("do", ["reset", "eof", "finish"])
async def test_a_body_of_known_length_is_cut_too(
    sandbox: Sandbox, client: aiohttp.ClientSession, do: Any
) -> None:
    sandbox.faults.add(Fault(do=do, on="send", after=100, unit="bytes"))
    url = sandbox.url("kokoro1", "predict")
    async with client.post(url, json={"text": "a b c d"}) as answer:
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) > 10_000
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert (len(session.sent_audio), session.closed_by) == (100, "fault")


async def test_pieces_of_a_body_are_mangled_one_by_one(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add()
    sandbox.faults.add(
        Fault(do="drop", on="send"),
        Fault(do="duplicate", on="send", after=1),
        Fault(do="replace", on="send", after=2, payload=b"\x01\x02\x03"),
        Fault(do="delay", on="send", after=3, seconds=0.01),
        Fault(do="send", on="send", after=4, payload="tail"),
    )
    bodies, pieces = [], []
    for _ in range(2):
        async with client.post(sandbox.tts_endpoint, json={"prompt": "a b c d"}) as answer:
            bodies.append(await answer.read())
        pieces.append(sandbox.sessions[-1].sent_frames)
    whole, mangled = pieces
    assert bodies[0] == b"".join(whole)
    assert bodies[1] == b"".join(mangled)
    assert mangled[:2] == [whole[1]] * 2
    assert mangled[2] == b"\x01\x02\x03"
    assert mangled[3:5] == [whole[3], b"tail"]
    assert mangled[5:] == whole[4:]


async def test_a_request_is_cut_before_it_is_answered(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    for do in ("reset", "eof", "close"):
        sandbox.faults.add(Fault(do=do))  # type: ignore[arg-type]
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.post(sandbox.tts_endpoint, json={"prompt": "a"})
    # aiohttp tries a GET once more.
    sandbox.faults.add(Fault(do="reset", on="handshake"), times=2)
    with pytest.raises(aiohttp.ClientError):
        await client.ws_connect(sandbox.stt_endpoint)
    for session in await sandbox.wait_sessions(5, closed=True):
        assert session.closed_by == "fault"
        assert session.status is None


async def test_messages_of_the_client_are_mangled_before_the_server_sees_them(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(
        Fault(do="drop", on="receive", kind="binary", count=None),
        Fault(do="delay", on="receive", seconds=0.01),
        Fault(do="replace", on="receive", match="health_check", payload={"type": "nonsense"}),
    )
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json({})
        await say(ws, "never heard")
        await ws.send_json(HEALTH)
        assert (await ws.receive_json(timeout=10))["type"] == "error"
        await ws.send_json({"type": "end_audio"})
        answers = [(await ws.receive_json(timeout=10))["body"]["status"] for _ in range(2)]
    assert answers == ["acknowledged", "finished"]
    assert len(sandbox.sessions[0].received_frames) > 10


async def test_a_clean_end_in_the_middle_of_a_websocket(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(Fault(do="finish", on="send", kind="binary", after=2))
    async with client.ws_connect(sandbox.tts_websocket_endpoint) as ws:
        await ws.send_json({})
        await ws.send_str("one two three four five. six seven")
        kinds = [await ws.receive(timeout=10) for _ in range(3)]
    assert [k.type.name for k in kinds] == ["BINARY", "BINARY", "CLOSE"]
    assert kinds[2].data == 1000


async def test_waiting_for_what_does_not_come_tells_what_did(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json({})
        session = await sandbox.wait_message("{}")
        assert session.number == 0
        with pytest.raises(TimeoutError, match="#0 websocket whisper1/websocket status=101"):
            await sandbox.wait_sessions(2, timeout=0.01)
        with pytest.raises(ZeroDivisionError):
            await sandbox.wait_for(lambda: 1 / (sandbox.open_sockets - 1))


async def test_a_short_body_can_end_cleanly(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(Fault(do="finish", on="send", after=5_000, unit="bytes"))
    async with client.post(sandbox.tts_endpoint, json={"prompt": "a b c d"}) as answer:
        assert len(await answer.read()) == 5_000


async def test_json_with_200_where_audio_is_due(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(Fault(do="status", status=200, body={"error": "out of voices"}))
    async with client.post(sandbox.tts_endpoint, json={"prompt": "hi"}) as answer:
        assert answer.status == 200
        assert await answer.json() == {"error": "out of voices"}


async def test_a_muted_body_stalls_until_the_client_leaves(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(Fault(do="mute", on="send", after=4096, unit="bytes"))
    answer = await client.post(sandbox.tts_endpoint, json={"prompt": "a b c d"})
    assert len(await answer.content.readexactly(4096)) == 4096
    assert not sandbox.sessions[0].closed
    answer.close()
    await sandbox.wait_sessions(1, closed=True)


async def test_a_chat_stream_is_cut_too(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.faults.add(Fault(do="reset", on="send", after=2))
    body = {
        "model": "openai/gpt-oss-120b",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
    }
    async with client.post(f"{sandbox.llm_base_url}/chat/completions", json=body) as answer:
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


async def test_a_fault_waits_for_its_deployment(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.faults.add(Fault(do="status", status=500), deployment="orpheus2")
    async with client.ws_connect(sandbox.stt_endpoint):
        pass
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await client.ws_connect(sandbox.tts_websocket_endpoint)


def test_the_same_seed_strikes_the_same_connections() -> None:
    def struck(seed: int) -> list[Any]:
        plan = FaultPlan()
        plan.at_random([Fault(do="reset", on="send"), Fault(do="mute")], rate=0.5, seed=seed)
        return [
            (p.fault.do, p.fault.after)
            for _ in range(50)
            for p in plan.take("a1", "http")._progress
        ]

    assert struck(1) == struck(1)
    assert struck(1) != struck(2)
    assert 10 < len(struck(1)) < 40


def test_words_and_messages_are_counted_apart() -> None:
    faults = ConnectionFaults([Fault(do="reset", on="receive", unit="words", after=3)])
    assert not faults.passed("receive", "one two")
    assert not faults.passed("receive", b"\0" * 100)
    assert [f.do for f in faults.passed("receive", "three")] == ["reset"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"do": "drop"},
        {"do": "delay", "on": "send"},
        {"do": "swap", "on": "receive"},
        {"do": "reset", "after": -1},
        {"do": "drop", "on": "send", "unit": "bytes"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs|negative|counts"):
        Fault(**wrong)
