"""What goes wrong at the other end is an error, and never half an utterance passed off as whole."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest

from livekit.agents import (
    APIConnectionError,
    APIConnectOptions,
    APIError,
    APIStatusError,
    APITimeoutError,
    tokenize,
    tts as agents_tts,
)
from livekit.plugins.baseten_common import timeout
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_tts import TTS
from livekit.plugins.baseten_tts.protocols.orpheus import OrpheusUtterance

from .conftest import Listen, Make, heard

BOTH = pytest.mark.parametrize("over", ["http", "websocket"])
ONCE = APIConnectOptions(max_retry=0, timeout=10.0)
HASTY = APIConnectOptions(max_retry=0, timeout=0.3)
AGAIN = APIConnectOptions(max_retry=3, retry_interval=0.01, timeout=10.0)
TEXT = "one two three four five six seven eight nine ten eleven twelve."


class Outcome:
    def __init__(self) -> None:
        self.audio = b""
        self.error: BaseException | None = None
        self.events: list[agents_tts.TTSError] = []

    @property
    def words(self) -> list[str]:
        return heard(self.audio)


async def attempt(
    tts: agents_tts.TTS, options: APIConnectOptions, *, whole: bool = False, text: str = TEXT
) -> Outcome:
    outcome = Outcome()
    tts.on("error", outcome.events.append)
    stream: Any = (
        tts.synthesize(text, conn_options=options) if whole else tts.stream(conn_options=options)
    )
    try:
        async with stream:
            if not whole:
                stream.push_text(text)
                stream.end_input()
            async for event in stream:
                outcome.audio += bytes(event.frame.data)
    except Exception as e:
        outcome.error = e
    tts.off("error", outcome.events.append)
    return outcome


@pytest.mark.parametrize(
    ("status", "retried"),
    [(400, False), (401, False), (404, False), (422, False), (429, True), (500, True), (503, True)],
)
@BOTH
async def test_a_refusal_carries_the_servers_words(
    make: Make, sandbox: Sandbox, over: str, status: int, retried: bool
) -> None:
    fault = Fault(do="status", status=status, body={"error": "the very words"})
    sandbox.faults.add(fault, times=None)
    options = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=10.0)
    outcome = await attempt(make(over, warm_sockets=0), options)
    assert isinstance(outcome.error, APIStatusError)
    assert outcome.error.status_code == status
    assert "the very words" in str(outcome.error)
    assert outcome.error.request_id
    tries = 3 if retried else 1
    assert len(sandbox.sessions) == tries
    assert [event.recoverable for event in outcome.events] == [True] * (tries - 1) + [False]


@BOTH
async def test_a_wrong_key_is_refused_and_shows_nowhere(
    make: Make, over: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tts = make(over, api_key="a-secret-key", warm_sockets=0)
    outcome = await attempt(tts, AGAIN)
    assert isinstance(outcome.error, APIStatusError)
    assert outcome.error.status_code == 401
    for text in (caplog.text, repr(outcome.error), repr(vars(tts)), str(outcome.error.__cause__)):
        assert "a-secret-key" not in text
    assert outcome.error.__cause__ is None


@BOTH
async def test_nobody_listening_is_retried(make: Make, over: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        scheme = {"http": "http", "websocket": "ws"}[over]
        tts = make(f"{scheme}://127.0.0.1:{taken.getsockname()[1]}/x", warm_sockets=0)
        outcome = await attempt(tts, AGAIN)
    assert isinstance(outcome.error, APIConnectionError)
    assert len(outcome.events) == 4


@BOTH
@pytest.mark.parametrize("whole", [True, False])
async def test_a_silent_peer_times_out(
    make: Make, sandbox: Sandbox, over: str, whole: bool
) -> None:
    sandbox.faults.add(Fault(do="park"), times=None)
    outcome = await attempt(make(over, warm_sockets=0), HASTY, whole=whole)
    assert isinstance(outcome.error, APITimeoutError)


@BOTH
async def test_a_mute_server_times_out_and_what_came_is_heard(
    make: Make, sandbox: Sandbox, over: str
) -> None:
    sandbox.faults.add(Fault(do="mute", on="send", kind="binary", after=8), times=None)
    # Its first sound comes in time, on a slow machine too.
    options = APIConnectOptions(max_retry=0, timeout=1.5)
    outcome = await attempt(make(over, warm_sockets=0), options)
    assert isinstance(outcome.error, APITimeoutError)
    assert not outcome.error.retryable
    if over == "websocket":
        assert str(sandbox.sessions[0].request_id) in str(outcome.error)
    assert outcome.words[:2] == ["one", "two"]
    assert outcome.audio == b"".join(sandbox.sessions[0].sent_frames)


BROKEN = {
    "websocket": [
        Fault(do="close", on="send", kind="binary", after=3, code=1011),
        Fault(do="close", on="send", kind="binary", after=3, code=1000),
        Fault(do="reset", on="send", kind="binary", after=3),
        Fault(do="eof", on="send", kind="binary", after=3),
        Fault(do="send", on="send", kind="binary", after=3, payload={"error": "out of tokens"}),
        Fault(do="send", on="send", kind="binary", after=3, payload="plain words"),
    ],
    "http": [
        Fault(do="eof", on="send", after=10001, unit="bytes"),
        Fault(do="reset", on="send", after=10000, unit="bytes"),
        Fault(do="finish", on="send", after=5000, unit="bytes"),
    ],
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("over", "fault"), [(over, fault) for over, faults in BROKEN.items() for fault in faults]
)
async def test_half_an_utterance_is_an_error_and_is_not_said_again(
    make: Make, sandbox: Sandbox, over: str, fault: Fault, whole: bool
) -> None:
    sandbox.faults.add(fault, times=None)
    outcome = await attempt(make(over, warm_sockets=0), AGAIN, whole=whole)
    assert isinstance(outcome.error, APIError)
    assert not outcome.error.retryable
    assert [event.recoverable for event in outcome.events] == [False]
    assert len(sandbox.sessions) == 1
    assert outcome.audio  # what was received was handed out
    request_id = sandbox.sessions[0].request_id
    assert request_id in (getattr(outcome.error, "request_id", None) or str(outcome.error))
    if over == "websocket":
        assert len(outcome.audio) == 3 * 4096


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("over", "fault"),
    [
        ("websocket", Fault(do="close", code=1011, on="receive", after=3)),
        ("websocket", Fault(do="close", code=1000, on="receive", after=3)),
        ("websocket", Fault(do="reset", on="receive", after=3)),
        ("websocket", Fault(do="close", code=1012)),
        ("http", Fault(do="reset")),
        ("http", Fault(do="status", status=200, body=b"")),
        ("http", Fault(do="status", status=200, body={"error": "no GPU"})),
        ("http", Fault(do="status", status=200, body=b"an error in words")),
        ("http", Fault(do="status", status=502, body="Error making prediction")),
    ],
)
async def test_before_any_audio_it_is_tried_again(
    make: Make, sandbox: Sandbox, over: str, fault: Fault, whole: bool
) -> None:
    sandbox.faults.add(fault)
    outcome = await attempt(make(over, warm_sockets=0), AGAIN, whole=whole)
    assert outcome.error is None
    assert outcome.words == TEXT.split()
    assert [event.recoverable for event in outcome.events] == [True]
    assert len(sandbox.sessions) == 2


async def test_a_json_answer_with_200_is_an_error_with_its_words(
    make: Make, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault(do="status", status=200, body={"error": "unknown voice 'bob'"}))
    outcome = await attempt(make("http"), AGAIN)
    assert isinstance(outcome.error, APIError)
    assert "unknown voice 'bob'" in str(outcome.error)
    assert len(sandbox.sessions) == 1  # such a request would fail again


FIRST, SECOND = "This is the first sentence of three.", "And this is the second of them."
THIRD = "The third of them is the last."


async def test_a_later_sentence_is_tried_again_alone(make: Make, sandbox: Sandbox) -> None:
    sandbox.faults.add()
    sandbox.faults.add(Fault(do="status", status=503))
    text = f"{FIRST} {SECOND} {THIRD}"
    outcome = await attempt(make("http"), AGAIN, text=text)
    assert outcome.error is None
    assert outcome.words == text.split()
    assert [event.recoverable for event in outcome.events] == [True]
    # A server that speaks one at a time isn't busy with the third when it is asked again.
    first, refused, again, third = sandbox.sessions
    assert refused.status == 503
    prompts = [session.received_json[0]["prompt"] for session in (first, again, third)]
    assert prompts == [FIRST, SECOND, THIRD]


async def test_half_of_a_later_sentence_is_not_said_again(make: Make, sandbox: Sandbox) -> None:
    sandbox.faults.add()
    sandbox.faults.add(
        Fault(do="delay", seconds=0.3, on="send"),  # until it is its turn
        Fault(do="reset", on="send", after=20_000, unit="bytes"),
    )
    outcome = await attempt(make("http"), AGAIN, text=f"{FIRST} {SECOND}")
    assert isinstance(outcome.error, APIError)
    assert not outcome.error.retryable
    assert outcome.words[: len(FIRST.split())] == FIRST.split()
    assert [event.recoverable for event in outcome.events] == [False]
    assert len(sandbox.sessions) == 2


@pytest.mark.parametrize("tries", [1, 2])
async def test_half_of_a_sentence_that_nobody_heard_is_asked_for_again(
    make: Make, sandbox: Sandbox, tries: int
) -> None:
    sandbox.faults.add(Fault(do="delay", seconds=0.5, on="send", after=3))
    sandbox.faults.add(Fault(do="reset", on="send", after=20_000, unit="bytes"))
    options = APIConnectOptions(max_retry=tries - 1, retry_interval=0.01, timeout=10.0)
    outcome = await attempt(make("http"), options, text=f"{FIRST} {SECOND}")
    assert (outcome.error is None) == (tries == 2)
    assert [event.recoverable for event in outcome.events] == [tries == 2]
    assert len(sandbox.sessions) == 1 + tries
    if tries == 2:
        assert outcome.words == f"{FIRST} {SECOND}".split()
    else:  # what was received is heard
        assert outcome.audio == b"".join(b"".join(s.sent_frames) for s in sandbox.sessions)


@pytest.mark.parametrize("seconds", [1.8, None])
async def test_a_sentence_asked_for_ahead_is_late_only_when_it_is_its_turn(
    make: Make, sandbox: Sandbox, seconds: float | None
) -> None:
    # As a server does that speaks one at a time.
    sandbox.faults.add(Fault(do="delay", seconds=0.4, on="send", count=5))
    sandbox.faults.add(Fault(do="park", seconds=seconds))
    options = APIConnectOptions(max_retry=0, timeout=1.2)
    outcome = await attempt(make("http"), options, text=f"{FIRST} {SECOND}")
    if seconds:
        assert outcome.error is None
        assert outcome.words == f"{FIRST} {SECOND}".split()
    else:
        assert isinstance(outcome.error, APITimeoutError)
        assert outcome.words == FIRST.split()


async def test_a_session_protocol_is_named_as_the_wrong_one(make: Make, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(do="send", payload={"type": "session.created"}))
    outcome = await attempt(make(warm_sockets=0), AGAIN)
    assert "model=" in str(outcome.error)
    assert len(sandbox.sessions) == 1


@BOTH
async def test_a_certificate_that_nobody_signed_is_not_trusted(
    http_context: None, over: str
) -> None:
    async with Sandbox(transcriber="tones", synthesizer="tones", tls=True) as sandbox:
        endpoint = {"http": sandbox.tts_endpoint, "websocket": sandbox.tts_websocket_endpoint}
        assert endpoint[over].startswith(("https:", "wss:"))
        tts = TTS(api_key=sandbox.api_key, model_endpoint=endpoint[over])
        outcome = await attempt(tts, AGAIN)
        await tts.aclose()
        assert isinstance(outcome.error, APIConnectionError)
        assert not outcome.error.retryable
        assert "SSL_CERT_FILE" in str(outcome.error)
        assert sandbox.sessions == []


async def test_a_long_healthy_answer_has_no_limit_in_all(make: Make, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault(do="delay", seconds=0.1, on="send", count=None))
    loop = asyncio.get_running_loop()
    before = loop.time()
    outcome = await attempt(make("http"), APIConnectOptions(max_retry=0, timeout=1.5))
    assert loop.time() - before > 1.5
    assert outcome.error is None
    assert outcome.words == TEXT.split()


@pytest.mark.parametrize(
    ("over", "all_said"), [("http", True), ("websocket", True), ("websocket", False)]
)
async def test_stopping_reaches_the_server_and_leaves_no_socket(
    make: Make, sandbox: Sandbox, over: str, all_said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.faults.add(Fault(do="mute", on="send", kind="binary", after=2))
    tts = make(over, warm_sockets=0)
    stream = tts.stream()
    stream.push_text(TEXT)
    if all_said:
        stream.end_input()
    await anext(stream)
    loop = asyncio.get_running_loop()
    now = loop.time()
    with monkeypatch.context() as frozen:
        # No time is up meanwhile: it doesn't wait for a server that doesn't answer.
        frozen.setattr(loop, "time", lambda: now)
        await stream.aclose()
    (session,) = await sandbox.wait_sessions(1, closed=True)
    assert session.closed_by == "client"
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)


@BOTH
async def test_closing_the_tts_stops_what_is_being_spoken(
    make: Make, sandbox: Sandbox, over: str
) -> None:
    sandbox.faults.add(Fault(do="mute", on="send", kind="binary", after=2))
    tts = make(over)
    stream = tts.stream()
    stream.push_text(TEXT)
    stream.end_input()
    await anext(stream)
    async with timeout(2):
        await tts.aclose()
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)
    await stream.aclose()


async def test_a_paced_text_fails_as_a_whole_after_audio(make: Make, sandbox: Sandbox) -> None:
    sandbox.faults.add()
    sandbox.faults.add(Fault(do="close", code=1011, on="receive", after=2), times=None)
    tts = make(text_pacing=True, warm_sockets=0)
    outcome = await attempt(tts, ONCE, text="This is the first sentence of two. And a second one.")
    assert isinstance(outcome.error, APIError)
    assert outcome.words == ["This", "is", "the", "first", "sentence", "of", "two."]


async def test_no_word_of_the_text_is_logged(
    make: Make, listen: Listen, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="livekit.plugins")
    sandbox.faults.add(Fault(do="reset", on="receive", after=3))
    await listen(make(), "Confidential matters.")
    assert "Confidential" not in caplog.text


async def test_a_fault_of_our_own_ends_the_utterance_too(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr(OrpheusUtterance, "say", broken)
    outcome = await attempt(make(warm_sockets=0), ONCE)
    assert isinstance(outcome.error, ZeroDivisionError)


@BOTH
async def test_a_tokenizer_that_fails_ends_the_utterance_too(make: Make, over: str) -> None:
    class Broken(tokenize.basic.SentenceTokenizer):
        def stream(self, *, language: str | None = None) -> tokenize.SentenceStream:
            stream = super().stream(language=language)

            def fail(text: str) -> None:
                raise ZeroDivisionError

            stream.push_text = fail  # type: ignore[method-assign]
            return stream

    outcome = await attempt(make(over, tokenizer=Broken(), warm_sockets=0), ONCE)
    assert isinstance(outcome.error, ZeroDivisionError)
