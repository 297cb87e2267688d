"""What the doctor says about each kind of failure."""

from __future__ import annotations

import dataclasses
import html
import socket
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from livekit.plugins.baseten.cli import main
from livekit.plugins.baseten_sandbox import Fault
from livekit.plugins.baseten_sandbox.background import BackgroundSandbox

from .conftest import Doctor


def test_all_is_well(doctor: Doctor, sandbox: BackgroundSandbox) -> None:
    found = doctor()
    assert found.status == 0
    assert found.data["ok"] is True
    assert found.failed == []
    assert "one two three" in found.check("STT", "hearing")["detail"]
    assert found.check("STT", "configuration")["status"] == "ok"
    assert "STT, TTS and LLM" in found.check("key", "accepted")["detail"]
    assert list(found.data["turn"]) == ["STT final", "LLM first token", "TTS first audio"]
    assert all(seconds > 0 for seconds in found.data["turn"].values())
    timed = [check for check in found.data["checks"] if check["seconds"] is not None]
    assert {(check["part"], check["check"]) for check in timed} == {
        *(("STT", name) for name in ("network", "handshake", "configuration", "hearing")),
        *(("TTS", name) for name in ("network", "speaking")),
        *(("LLM", name) for name in ("network", "model", "answering")),
    }
    assert found.check("STT", "hearing")["seconds"] > found.data["turn"]["STT final"]
    steps = [line.split("]")[0] for line in found.progress.splitlines()]
    assert steps == [f"[{number}/18" for number in range(1, 19)]
    assert sandbox.open_sockets == 0


@pytest.mark.parametrize(
    ("stt", "tts", "arguments"),
    [
        ("qwenasr1", "qwentts1", ("--stt-model", "qwen3-asr", "--tts-model", "qwen3-tts")),
        ("whisper2", "orpheus2", ()),
        ("whisper1", "kokoro1", ("--tts-model", "generic")),
    ],
)
def test_every_protocol_is_examined(
    doctor: Doctor, sandbox: BackgroundSandbox, stt: str, tts: str, arguments: tuple[str, ...]
) -> None:
    route = "predict" if tts == "kokoro1" else "websocket"
    more = ("--tts-voice", "vivian", "--tts-option", "task_type=CustomVoice")
    found = doctor(
        "--only",
        "stt,tts",
        "--stt-endpoint",
        sandbox.url(stt, "websocket"),
        "--tts-endpoint",
        sandbox.url(tts, route),
        *arguments,
        *(more if tts == "qwentts1" else ()),
    )
    assert found.failed == []
    assert found.check("STT", "hearing")["status"] == "ok"


def test_an_environment_is_of_what_is_named_by_its_id(
    doctor: Doctor, sandbox: BackgroundSandbox
) -> None:
    assert doctor("--environment", "staging").failed == []
    found = doctor("--stt-option", "environment=staging")
    assert found.failed == ["STT URL"]
    assert "leave out environment=" in found.check("STT", "URL")["detail"]


def test_without_a_key_the_way_there_is_still_checked(
    doctor: Doctor, sandbox: BackgroundSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BASETEN_API_KEY")
    found = doctor()
    assert found.status == 1
    assert found.failed == ["key present"]
    assert "isn't set" in found.check("key", "present")["detail"]
    assert "settings/api_keys" in found.check("key", "present")["mend"]
    assert found.check("key", "present")["seconds"] is None
    assert found.check("STT", "network")["status"] == "ok"
    assert found.check("STT", "handshake")["status"] == "skipped"
    assert sandbox.sessions == []


def test_a_wrong_key(
    doctor: Doctor, sandbox: BackgroundSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASETEN_API_KEY", "not-the-right-one")
    found = doctor()
    assert found.failed == ["key accepted", "STT handshake", "TTS speaking", "LLM model"]
    assert "refused" in found.check("STT", "handshake")["detail"]
    assert "settings/api_keys" in found.check("LLM", "model")["mend"]
    assert "STT, TTS and LLM" in found.check("key", "accepted")["detail"]
    assert "not-the-right-one" not in found.printed + found.progress


def test_a_key_that_only_some_accept(doctor: Doctor, sandbox: BackgroundSandbox) -> None:
    refused = Fault(do="status", status=403, body={"error": "no access"})
    sandbox.faults.add(refused, times=None, deployment="orpheus1")
    found = doctor()
    assert found.failed == ["TTS speaking"]
    assert found.check("key", "accepted")["status"] == "warning"
    assert "by STT and LLM; refused by TTS" in found.check("key", "accepted")["detail"]


def test_a_key_that_a_server_repeats_stays_hidden(
    doctor: Doctor, sandbox: BackgroundSandbox
) -> None:
    told = {"error": f"the key {sandbox.api_key} has no access"}
    sandbox.faults.add(Fault(do="status", status=403, body=told), times=None)
    found = doctor()
    assert "has no access" in found.check("LLM", "model")["detail"]
    assert sandbox.api_key not in found.printed + found.progress


def test_a_wrong_id(doctor: Doctor, sandbox: BackgroundSandbox) -> None:
    wrong = sandbox.stt_endpoint.replace("whisper1", "nosuch1")
    found = doctor("--only", "stt", "--stt-endpoint", wrong)
    assert found.failed == ["STT handshake"]
    assert "404" in found.check("STT", "handshake")["detail"]
    assert "--stt-model-id" in found.check("STT", "handshake")["mend"]
    assert found.check("STT", "configuration")["status"] == "skipped"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("abcd1234", "must be a full URL"),
        ("ws://model-abcd1234.api.baseten.co/x", "unencrypted"),
        ("wss://model-{model_id}.api.baseten.co/environments/production/websocket", "placeholder"),
    ],
)
def test_a_malformed_url(doctor: Doctor, sandbox: BackgroundSandbox, url: str, says: str) -> None:
    found = doctor("--only", "stt", "--stt-endpoint", url)
    assert found.failed == ["STT URL"]
    assert says in found.check("STT", "URL")["detail"]


def test_a_malformed_id(doctor: Doctor, sandbox: BackgroundSandbox) -> None:
    found = doctor("--only", "llm", "--llm-model-id", "model-abcd1234")
    assert found.failed == ["LLM URL"]
    assert "leave out the 'model-'" in found.check("LLM", "URL")["detail"]


def test_what_is_not_set_up_is_skipped_unless_it_is_asked_for(
    doctor: Doctor, sandbox: BackgroundSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BASETEN_STT_MODEL_ENDPOINT")
    monkeypatch.delenv("BASETEN_TTS_MODEL_ENDPOINT")
    found = doctor()
    assert found.status == 0
    assert found.check("STT", "URL")["status"] == "skipped"
    assert "BASETEN_STT_MODEL_ENDPOINT" in found.check("STT", "URL")["mend"]
    found = doctor("--only", "stt")
    assert found.status == 1
    assert found.failed == ["STT URL"]


def test_stt_alone_is_tried_with_silence(doctor: Doctor, sandbox: BackgroundSandbox) -> None:
    found = doctor("--only", "stt")
    assert found.failed == []
    assert "--audio" in found.check("STT", "hearing")["mend"]


def put(sandbox: BackgroundSandbox, id: str, state: str, cold_start: float = 1.0) -> None:
    deployment = sandbox.deployment(id)
    sandbox.deploy(dataclasses.replace(deployment, state=state, cold_start=cold_start))


def test_a_model_that_never_comes_up(doctor: Doctor, sandbox: BackgroundSandbox) -> None:
    put(sandbox, "whisper1", "loading")
    found = doctor("--only", "stt", "--wake", "2")
    assert found.failed == ["STT handshake"]
    assert "not ready" in found.check("STT", "handshake")["detail"]
    assert "--wake" in found.check("STT", "handshake")["mend"]
    assert "waking it for at most 2 s" in found.progress
    assert any(session.route == "wake" for session in sandbox.sessions)


@pytest.mark.parametrize("id", ["whisper1", "orpheus1", "orpheus2", "llm1"])
def test_a_sleeping_model_is_woken(doctor: Doctor, sandbox: BackgroundSandbox, id: str) -> None:
    put(sandbox, id, "asleep", cold_start=1.5)
    arguments = {
        "whisper1": ("--only", "stt"),
        "orpheus1": ("--only", "tts"),
        "orpheus2": ("--only", "tts", "--tts-endpoint", sandbox.tts_websocket_endpoint),
        "llm1": ("--only", "llm", "--llm-base-url", sandbox.url("llm1", "sync/v1")),
    }[id]
    found = doctor("--wake", "30", "--timeout", "1", *arguments)
    assert found.failed == []
    assert "woken in" in found.printed
    assert "waking it for at most 30 s" in found.progress
    assert any(session.route == "wake" for session in sandbox.sessions)


def test_an_unhealthy_model(doctor: Doctor, sandbox: BackgroundSandbox) -> None:
    put(sandbox, "orpheus1", "unhealthy")
    found = doctor("--only", "tts")
    assert found.failed == ["TTS speaking"]
    assert "unhealthy" in found.check("TTS", "speaking")["detail"]
    assert "logs" in found.check("TTS", "speaking")["mend"]


@pytest.mark.parametrize("id", ["orpheus2", "orpheus1", "qwentts1", "qwenasr1"])
def test_another_model_behind_the_stt_endpoint(
    doctor: Doctor, sandbox: BackgroundSandbox, id: str
) -> None:
    found = doctor(
        "--only", "stt", "--timeout", "3", "--stt-endpoint", sandbox.url(id, "websocket")
    )
    assert found.status == 1
    (failed,) = found.failed
    assert failed in ("STT configuration", "STT hearing")
    mend = found.check(*failed.split())["mend"]
    assert "the URL" in mend


@pytest.mark.parametrize("id", ["whisper1", "qwenasr1", "qwentts1"])
def test_another_model_behind_the_tts_endpoint(
    doctor: Doctor, sandbox: BackgroundSandbox, id: str
) -> None:
    found = doctor(
        "--only", "tts", "--timeout", "3", "--tts-endpoint", sandbox.url(id, "websocket")
    )
    assert found.failed == ["TTS speaking"]
    assert found.check("TTS", "speaking")["mend"]


def test_the_unified_protocol_is_told_as_what_it_is(
    doctor: Doctor, sandbox: BackgroundSandbox
) -> None:
    sandbox.faults.add(Fault(do="send", payload={"type": "session.created"}))
    found = doctor("--only", "stt")
    assert found.failed == ["STT configuration"]
    assert "v2" in found.check("STT", "configuration")["detail"]


def test_an_older_runtime(doctor: Doctor, sandbox: BackgroundSandbox) -> None:
    old = dataclasses.replace(
        sandbox.deployment("whisper1"), unknown_keys=("show_word_timestamps",)
    )
    sandbox.deploy(old)
    found = doctor("--only", "stt")
    assert found.failed == ["STT configuration"]
    assert "metadata_format=legacy" in found.check("STT", "configuration")["mend"]


def test_an_unknown_slug(doctor: Doctor, sandbox: BackgroundSandbox) -> None:
    found = doctor("--only", "llm", "--llm-model", "openai/gpt-oss-12b")
    assert found.failed == ["LLM answering"]
    assert found.check("LLM", "model")["status"] == "warning"
    assert "openai/gpt-oss-120b" in found.check("LLM", "model")["mend"]
    assert "retired, or not enabled" in found.check("LLM", "answering")["detail"]
    assert "await" not in found.check("LLM", "answering")["detail"]


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # and so by nobody who listens
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def test_a_port_that_refuses(doctor: Doctor, sandbox: BackgroundSandbox, closed_port: int) -> None:
    found = doctor("--only", "llm", "--llm-base-url", f"http://127.0.0.1:{closed_port}/v1")
    assert found.failed == ["LLM network"]
    assert "refused" in found.check("LLM", "network")["detail"]
    assert "port" in found.check("LLM", "network")["mend"]


def test_a_host_that_is_not_known(
    doctor: Doctor, sandbox: BackgroundSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = doctor("--only", "stt", "--stt-model-id", "abcd1234")
    assert found.failed == ["STT network"]
    assert "DNS" in found.check("STT", "network")["detail"]
    assert "--stt-model-id" in found.check("STT", "network")["mend"]
    assert "PROXY" not in found.check("STT", "network")["mend"]

    # Behind a proxy names often aren't known, and need not be.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    found = doctor("--only", "stt", "--stt-model-id", "abcd1234")
    assert "HTTPS_PROXY is set" in found.check("STT", "network")["mend"]


def test_a_server_that_accepts_and_says_nothing(doctor: Doctor, sandbox: BackgroundSandbox) -> None:
    sandbox.faults.add(Fault(do="park"), times=None)
    found = doctor("--timeout", "1.5")
    assert found.failed == ["STT handshake", "TTS speaking", "LLM model"]
    assert "within 1.5 s" in found.check("STT", "handshake")["detail"]


def test_speech_that_breaks_off(doctor: Doctor, sandbox: BackgroundSandbox) -> None:
    sandbox.faults.add(Fault(do="eof", on="send", after=10001, unit="bytes"), deployment="orpheus1")
    found = doctor("--only", "stt,tts")
    assert found.failed == ["TTS speaking"]
    assert "broke off" in found.check("TTS", "speaking")["detail"]
    # The half that came isn't used as a probe.
    assert "silence" in found.check("STT", "hearing")["detail"]


@pytest.fixture
def encrypted() -> Iterator[BackgroundSandbox]:
    with BackgroundSandbox(transcriber="tones", synthesizer="tones", tls=True) as sandbox:
        yield sandbox


def test_tls(doctor: Doctor, encrypted: BackgroundSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in encrypted.environ().items():
        monkeypatch.setenv(name, value)
    found = doctor()
    assert found.failed == []
    for part in ("STT", "TTS", "LLM"):
        assert "TLSv1.3" in found.check(part, "TLS")["detail"]
        assert "more days" in found.check(part, "TLS")["detail"]


@pytest.mark.parametrize("body", ["<html>Log in</html>", {"ok": True}])
def test_something_else_answers_there(
    doctor: Doctor, sandbox: BackgroundSandbox, body: object
) -> None:
    sandbox.faults.add(Fault(do="status", status=200, body=body), times=None)
    found = doctor()
    assert found.failed == ["STT handshake", "TTS speaking", "LLM model"]
    assert "login page" in found.check("STT", "handshake")["mend"]
    assert "OpenAI-compatible" in found.check("LLM", "model")["detail"]


def test_a_certificate_that_is_not_trusted(
    doctor: Doctor, encrypted: BackgroundSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in encrypted.environ().items():
        if name != "SSL_CERT_FILE":
            monkeypatch.setenv(name, value)
    found = doctor()
    assert found.failed == ["STT TLS", "TTS TLS", "LLM TLS"]
    assert "isn't trusted" in found.check("STT", "TLS")["detail"]
    assert "SSL_CERT_FILE" in found.check("STT", "TLS")["mend"]
    assert encrypted.sessions == []


def test_the_reports(doctor: Doctor, sandbox: BackgroundSandbox, tmp_path: Path) -> None:
    page, picture = tmp_path / "report.html", tmp_path / "report.svg"
    shown = doctor("--report", str(page))
    doctor("--only", "llm", "--llm-model", "<script>", "--report", str(picture))
    text = page.read_text(encoding="utf-8")
    picture_in_it, table = text.split("<table>")
    assert "A turn: about" in picture_in_it
    bars = [check for check in shown.data["checks"] if check["seconds"] is not None]
    assert picture_in_it.count('rx="3"') == len(bars) + len(shown.data["turn"])
    for name in (*shown.data["turn"], *(f"{bar['part']} {bar['check']}" for bar in bars)):
        assert f">{name}</text>" in picture_in_it
    assert table.count('<td class="time">') == len(shown.data["checks"])
    assert all(html.escape(check["detail"]) in table for check in shown.data["checks"])
    failures = picture.read_text(encoding="utf-8")
    assert "LLM answering" in failures
    assert "<script" not in text + picture.read_text(encoding="utf-8")
    assert not any(word in text for word in ("src=", "href=", "url(", "@import"))
    assert ElementTree.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert sorted(tmp_path.iterdir()) == [page, picture]


def test_a_recording_is_heard_in_place_of_the_sentence(
    doctor: Doctor, sandbox: BackgroundSandbox, tmp_path: Path
) -> None:
    path = tmp_path / "call.wav"
    assert main(["speak", "-q", "turn the lights on", "-o", str(path)]) == 0
    found = doctor("--only", "stt", "--audio", str(path))
    assert found.failed == []
    assert "turn the lights on" in found.check("STT", "hearing")["detail"]


def test_words_that_are_not_what_was_said(doctor: Doctor, sandbox: BackgroundSandbox) -> None:
    other = Fault(do="replace", on="receive", kind="text", after=1, count=3, payload="zebra")
    sandbox.faults.add(deployment="orpheus2")  # the handshake alone
    sandbox.faults.add(other, deployment="orpheus2")
    endpoint = sandbox.tts_websocket_endpoint
    found = doctor("--only", "stt,tts", "--tts-endpoint", endpoint)
    assert found.status == 0
    assert found.check("STT", "hearing")["status"] == "warning"
    assert "zebra zebra zebra" in found.check("STT", "hearing")["detail"]
    assert "It was “one two three”" in found.check("STT", "hearing")["mend"]


@pytest.mark.models
@pytest.mark.timeout(300)
def test_real_models_speak_and_hear(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    with BackgroundSandbox() as sandbox:
        sandbox.load_now()
        for name, value in sandbox.environ().items():
            monkeypatch.setenv(name, value)
        found = doctor("--timeout", "60", "--text", "The quick brown fox jumps over the lazy dog.")
    assert found.failed == []
    assert found.check("STT", "hearing")["status"] == "ok"
