"""No path sends a byte to a server whose certificate isn't in order, and a private CA is taken."""

from __future__ import annotations

import asyncio
import datetime
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from contract.uses import SAID, USES, WARM, Use
from livekit.agents import APIConnectionError, APIConnectOptions, utils
from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.engines.script import Script
from livekit.plugins.baseten_tts import list_voices, register_voice, remove_voice

CONN = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=5.0)
PATHS = [*USES, *WARM]

# Python 3.10 leaves the transport of a failed TLS handshake to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function _SSLProtocolTransport.__del__"
    ":pytest.PytestUnraisableExceptionWarning"
)


class Impostor:
    """A TLS server that takes whatever it is sent."""

    api_key = "bt-secret-0123456789"

    def __init__(self) -> None:
        self.received = b""
        self.handshakes = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handshakes += 1
        self.received += await reader.read(65536)
        writer.close()

    def url(self, deployment: str, route: str) -> str:
        scheme = "wss" if route == "websocket" else "https"
        path = f"model-{deployment}/environments/production/{route}"
        return f"{scheme}://localhost:{self.port}/{path}"

    @property
    def stt_endpoint(self) -> str:
        return self.url("whisper1", "websocket")

    @property
    def llm_base_url(self) -> str:
        return f"https://localhost:{self.port}/v1"


def self_signed() -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with trustme.Blob(pem).tempfile() as path:
        context.load_cert_chain(path)
    return context


def issued(ca: trustme.CA, host: str, **options: datetime.datetime) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host, **options).configure_cert(context)
    return context


@pytest.fixture(params=["self-signed", "unknown-ca", "expired", "wrong-host"])
async def impostor(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Impostor]:
    ca = trustme.CA()
    if request.param == "self-signed":
        context = self_signed()
    elif request.param == "expired":
        past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=2)
        context = issued(
            ca, "localhost", not_before=past - datetime.timedelta(days=9), not_after=past
        )
    else:
        context = issued(ca, "elsewhere.test" if request.param == "wrong-host" else "localhost")
    if request.param in ("expired", "wrong-host"):
        # Whoever issued it is trusted: there is nothing wrong but that.
        ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    impostor = Impostor()
    server = await asyncio.start_server(impostor.serve, "127.0.0.1", 0, ssl=context)
    impostor.port = server.sockets[0].getsockname()[1]
    yield impostor
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("use", PATHS, ids=lambda use: use.name)
async def test_a_bad_certificate_ends_it(use: Use, nothing_leaks: None, impostor: Impostor) -> None:
    async with utils.http_context.open():
        model = use.make(impostor)  # type: ignore[arg-type]
        errors: list[object] = []
        model.on("error", errors.append)
        model.prewarm()
        with pytest.raises(APIConnectionError, match="certificate isn't trusted") as caught:
            await asyncio.wait_for(use.run(model, CONN), 20)
        assert not caught.value.retryable
        assert len(errors) == 1
        await model.aclose()
    assert impostor.received == b""
    assert impostor.handshakes == 0


@pytest.mark.parametrize("what", ["list", "add", "remove"])
async def test_a_bad_certificate_ends_what_is_done_with_voices(
    what: str, nothing_leaks: None, impostor: Impostor, tmp_path: Path
) -> None:
    clip = tmp_path / "voice.wav"
    clip.write_bytes(b"RIFF")
    options = {"model_endpoint": impostor.url("x1", "websocket"), "api_key": impostor.api_key}
    asking = {
        "list": lambda: list_voices(**options),
        "add": lambda: register_voice(name="a", ref_audio_path=str(clip), **options),
        "remove": lambda: remove_voice(name="a", **options),
    }[what]
    with pytest.raises(APIConnectionError, match="certificate isn't trusted"):
        await asking()
    assert impostor.received == b""


@pytest.mark.parametrize("use", PATHS, ids=lambda use: use.name)
async def test_a_private_ca_is_taken(
    use: Use, nothing_leaks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = Script(SAID, loop=True)
    async with Sandbox(transcriber="tones", synthesizer="tones", chat=chat, tls=True) as sandbox:
        monkeypatch.setenv("SSL_CERT_FILE", str(sandbox.certificate))
        async with utils.http_context.open():
            model = use.make(sandbox)
            model.prewarm()
            assert await use.run(model, CONN) == SAID
            await model.aclose()


async def test_a_private_ca_is_taken_for_voices(nothing_leaks: None) -> None:
    """In a script of its own, as voices are managed: there is no session of LiveKit's."""
    script = (
        "import asyncio, sys; from livekit.plugins.baseten_tts import list_voices\n"
        "found = asyncio.run(list_voices(model_endpoint=sys.argv[1], api_key=sys.argv[2]))\n"
        "assert found['voices'], found"
    )
    async with Sandbox(transcriber="tones", synthesizer="tones", tls=True) as sandbox:
        endpoint = sandbox.qwen_tts_endpoint
        ran = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", script, endpoint, sandbox.api_key],
            env={**os.environ, "SSL_CERT_FILE": str(sandbox.certificate)},
            capture_output=True,
            timeout=60,
        )
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
