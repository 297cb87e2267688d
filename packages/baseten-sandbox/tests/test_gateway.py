from __future__ import annotations

import asyncio
import dataclasses
import ssl

import aiohttp
import pytest

from livekit.plugins.baseten_sandbox import Deployment, Sandbox

NOT_READY = {"error": "Model with name model is not ready."}


async def handshake_status(client: aiohttp.ClientSession, url: str, **kwargs: object) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(url, **kwargs)  # type: ignore[arg-type]
    return refused.value.status


@pytest.mark.parametrize("scheme", ["Bearer", "Api-Key"])
async def test_both_schemes_are_accepted_and_the_key_is_not_recorded(
    sandbox: Sandbox, scheme: str
) -> None:
    headers = {"Authorization": f"{scheme} {sandbox.api_key}", "X-Mark": "m"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.post(sandbox.tts_endpoint, json={"prompt": "hi"}) as answer,
    ):
        assert answer.status == 200
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert session.authorized
    assert session.scheme == scheme
    assert session.headers["x-mark"] == "m"
    assert sandbox.api_key not in repr(session)


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic sandbox-key", "sandbox-key"])
async def test_a_wrong_key_is_401_with_a_request_id(sandbox: Sandbox, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    async with aiohttp.ClientSession(headers=headers) as client:
        async with client.post(sandbox.tts_endpoint, json={"prompt": "hi"}) as answer:
            assert answer.status == 401
            assert "error" in await answer.json()
            assert answer.headers["X-BASETEN-REQUEST-ID"]
        assert await handshake_status(client, sandbox.stt_endpoint) == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/model-whisper1/environments/production/websocket", 101),
        ("/model-whisper1/production/websocket", 101),
        ("/model-whisper1/deployment/deploy1/websocket", 101),
        ("/model-whisper1/development/websocket", 101),
        ("/model-whisper1-production/websocket", 101),
        ("/chain-whisper2/environments/production/websocket", 101),
        ("/chain-whisper2/environments/production/run_remote", 400),
        ("/model-whisper1/environments/production/realtime", 400),
        ("/model-whisper1/environments/production/predict", 400),
        ("/model-whisper1/environments/nowhere/websocket", 404),
        ("/model-whisper1/deployment/other/websocket", 404),
        ("/model-nosuch/environments/production/websocket", 404),
        ("/chain-whisper1/environments/production/websocket", 404),
        ("/websocket", 404),
    ],
)
async def test_websocket_paths(
    sandbox: Sandbox, client: aiohttp.ClientSession, path: str, status: int
) -> None:
    url = sandbox.origin + path
    if status == 101:
        async with client.ws_connect(url):
            pass
    else:
        assert await handshake_status(client, url) == status


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("model-orpheus1.api.baseten.co", "/environments/production/predict"),
        ("model-orpheus1.api.baseten.co", "/production/predict"),
        ("model-orpheus1-production.api.baseten.co", "/predict"),
        ("MODEL-orpheus1.API.baseten.co:443", "/development/predict"),
    ],
)
async def test_the_host_header_decides_when_it_is_basetens(
    sandbox: Sandbox, client: aiohttp.ClientSession, host: str, path: str
) -> None:
    async with client.post(
        sandbox.origin + path, json={"prompt": "hi"}, headers={"Host": host}
    ) as answer:
        assert answer.status == 200
    assert sandbox.sessions[-1].deployment == "orpheus1"


async def test_a_chain_that_answers_on_run_remote_only(client: aiohttp.ClientSession) -> None:
    old = Deployment(id="old1", serves="whisper", kind="chain", websocket_route="run_remote")
    async with Sandbox(transcriber="tones", synthesizer="tones", deployments=[old]) as sandbox:
        assert await handshake_status(client, sandbox.url("old1", "websocket")) == 400
        async with client.ws_connect(sandbox.url("old1", "run_remote")):
            pass


async def test_a_loading_model_refuses_with_503(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    for id_ in ("whisper1", "orpheus1"):
        sandbox.deploy(dataclasses.replace(sandbox.deployment(id_), state="loading"))
    assert await handshake_status(client, sandbox.stt_endpoint) == 503
    async with client.post(sandbox.tts_endpoint, json={"prompt": "hi"}) as answer:
        assert answer.status == 503
        assert await answer.json() == NOT_READY
        assert answer.headers["X-BASETEN-ERROR-CODE"] == "600"


async def test_a_model_scaled_to_zero_parks_callers_until_it_is_up(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    asleep = dataclasses.replace(sandbox.deployment("orpheus1"), state="asleep", cold_start=0.1)
    sandbox.deploy(asleep)
    async with client.get(sandbox.url("orpheus1", "wake")) as asked:
        assert asked.status == 405
    async with client.post(sandbox.url("orpheus1", "wake")) as woken:
        assert woken.status == 202
    async with client.post(sandbox.tts_endpoint, json={"prompt": "hi"}) as answer:
        assert answer.status == 200
    assert sandbox.deployment("orpheus1").state == "ready"


async def test_a_parked_caller_who_leaves_is_noticed(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    sandbox.deploy(
        dataclasses.replace(sandbox.deployment("orpheus1"), state="asleep", cold_start=60.0)
    )
    call = asyncio.create_task(client.post(sandbox.tts_endpoint, json={"prompt": "hi"}))
    await sandbox.wait_sessions(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert session.closed_by == "client"


async def test_a_websocket_to_a_model_without_one_is_accepted_then_closed_with_1003(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.url("orpheus1", "websocket")) as ws:
        message = await ws.receive(timeout=10)
    assert message.data == 1003
    assert message.extra == "WebSocket is not implemented on this deployment."


async def test_predict_on_a_websocket_model_is_an_unhandled_exception(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.post(sandbox.url("orpheus2", "predict"), json={"prompt": "hi"}) as answer:
        assert answer.status == 500
        assert "`predict` must only be called if model has it." in (await answer.json())["error"]
        assert answer.headers["X-BASETEN-ERROR-CODE"] == "500"


async def test_a_frame_that_breaks_the_protocol_is_closed_by_the_server(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
        assert (await ws.receive(timeout=10)).data == 1007
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert (session.closed_by, session.close_code) == ("server", 1007)


async def test_a_client_that_does_not_pong_is_closed_with_1011(
    client: aiohttp.ClientSession,
) -> None:
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", ping_interval=0.05) as sandbox,
        client.ws_connect(sandbox.stt_endpoint, autoping=False),
    ):
        (session,) = await sandbox.wait_sessions(1, closed=True)
        assert session.close_code == 1011
        assert session.close_reason == "keepalive ping timeout"


async def test_a_socket_that_outlives_its_time_is_closed_with_1001(
    client: aiohttp.ClientSession,
) -> None:
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", lifetime=0.05) as sandbox,
        client.ws_connect(sandbox.stt_endpoint) as ws,
    ):
        assert (await ws.receive(timeout=10)).data == 1001


async def test_tls_is_served_with_a_certificate_that_can_be_verified() -> None:
    async with Sandbox(transcriber="tones", synthesizer="tones", tls=True) as sandbox:
        assert sandbox.stt_endpoint.startswith("wss://127.0.0.1:")
        assert sandbox.environ()["SSL_CERT_FILE"] == str(sandbox.certificate)
        headers = {"Authorization": f"Bearer {sandbox.api_key}"}
        trusted = ssl.create_default_context(cafile=str(sandbox.certificate))
        async with aiohttp.ClientSession(headers=headers) as client:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await client.ws_connect(sandbox.stt_endpoint)
            async with client.ws_connect(sandbox.stt_endpoint, ssl=trusted):
                pass


async def test_the_model_apis_and_a_dedicated_llm_answer(
    sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    async with client.get(f"{sandbox.llm_base_url}/models") as answer:
        assert answer.status == 200
    for url in (
        f"{sandbox.llm_base_url}/chat/completions",
        sandbox.url("llm1", "sync/v1/chat/completions"),
    ):
        body = {"model": "openai/gpt-oss-120b", "messages": [{"role": "user", "content": "Hello"}]}
        async with client.post(url, json=body) as answer:
            assert answer.status == 200
            assert (await answer.json())["choices"][0]["message"]["content"]


@pytest.mark.parametrize("distance", [{"round_trip": 0.05}, {"bandwidth": 200_000.0}])
async def test_distance_delays_but_loses_nothing(
    client: aiohttp.ClientSession, distance: dict[str, float]
) -> None:
    loop = asyncio.get_running_loop()
    async with Sandbox(transcriber="tones", synthesizer="tones", **distance) as sandbox:  # type: ignore[arg-type]
        began = loop.time()
        async with client.post(sandbox.tts_endpoint, json={"prompt": "a b c d"}) as answer:
            audio = await answer.read()
        assert len(audio) == 4 * round(0.3 * 24000) * 2
        # One round trip for the connection and one for the request; or the time the bytes take.
        floor = 2 * 0.05 if "round_trip" in distance else len(audio) / 200_000.0
        assert loop.time() - began >= floor * 0.95


async def test_distance_under_tls_costs_the_round_trip_of_its_handshake_too() -> None:
    loop = asyncio.get_running_loop()
    async with Sandbox(
        transcriber="tones", synthesizer="tones", tls=True, round_trip=0.05
    ) as sandbox:
        headers = {"Authorization": f"Bearer {sandbox.api_key}"}
        trusted = ssl.create_default_context(cafile=str(sandbox.certificate))
        async with aiohttp.ClientSession(headers=headers) as client:
            began = loop.time()
            async with client.ws_connect(sandbox.stt_endpoint, ssl=trusted):
                # One for the connection, one for TLS 1.3, one for the upgrade.
                assert loop.time() - began >= 3 * 0.05 * 0.95
            async with client.post(
                sandbox.tts_endpoint, json={"prompt": "a b"}, ssl=trusted
            ) as answer:
                assert len(await answer.read()) == 2 * round(0.3 * 24000) * 2


async def test_two_deployments_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two deployments are called model-a1"):
        Sandbox(deployments=[Deployment(id="a1", serves="chat")] * 2)


@pytest.mark.parametrize("id_", ["", "my-model", "a b"])
def test_an_id_that_baseten_would_not_give_is_refused(id_: str) -> None:
    with pytest.raises(ValueError, match="letters and digits"):
        Deployment(id=id_, serves="chat")


async def test_a_taken_port_is_an_os_error_and_leaves_nothing_open(sandbox: Sandbox) -> None:
    with pytest.raises(OSError, match=str(sandbox.port)):
        await Sandbox(port=sandbox.port, transcriber="tones", synthesizer="tones").start()
