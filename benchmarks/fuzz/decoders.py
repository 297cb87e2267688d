"""Everything that reads bytes from a server, each as a function that takes any bytes.

A decoder gives results or one of the errors that it names; anything else is a find. The first byte
says how the rest is cut into pieces, as a network may cut it anywhere.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

from livekit.agents import APIError
from livekit.plugins.baseten_common import ApiKey, Closed, errors
from livekit.plugins.baseten_llm.answers import Answer, FailureFrame
from livekit.plugins.baseten_llm.reasoning import SpokenText
from livekit.plugins.baseten_stt.batch import read_answer
from livekit.plugins.baseten_stt.options import STTOptions
from livekit.plugins.baseten_stt.protocols import PROTOCOLS, Transcript
from livekit.plugins.baseten_tts.options import Options
from livekit.plugins.baseten_tts.protocols import Audio, Spoken, Utterance
from livekit.plugins.baseten_tts.protocols.http_audio import GenericPredict
from livekit.plugins.baseten_tts.protocols.orpheus import OrpheusPredict, OrpheusUtterance
from livekit.plugins.baseten_tts.protocols.qwen3_tts import Qwen3Utterance
from livekit.plugins.baseten_tts.voices import _Desk

__all__ = ["DECODERS"]

_KEY = ApiKey("bt-secret-0123456789")
_TYPES = ["audio/wav", "application/json", "text/html", "", "application/octet-stream"]
_TEXT = "one two. three four"
_DESK = _Desk("wss://model-abcd1234.api.baseten.co/x", None, None, "key", "Bearer", None)


def _pieces(data: bytes) -> Iterator[bytes]:
    size = data[0] or 1 if data else 1
    for at in range(1, len(data), size):
        yield data[at : at + size]


def _messages(data: bytes) -> Iterator[str | bytes]:
    """Lines are messages; one that isn't UTF-8, or begins with a NUL, is binary."""
    for line in data.split(b"\n")[:50]:
        try:
            yield line[1:] if line[:1] == b"\0" else line.decode()
        except UnicodeDecodeError:
            yield line


def _check_transcript(transcript: Transcript) -> None:
    times = [transcript.start, transcript.end]
    times += [time for word in transcript.words for time in (word.start, word.end)]
    assert all(time is None or (math.isfinite(time) and time >= 0) for time in times)
    assert 0.0 <= transcript.confidence <= 1.0


def _speech_protocol(name: str) -> Callable[[bytes], None]:
    def decode(data: bytes) -> None:
        protocol = PROTOCOLS[name](STTOptions(model=name, language="en"))
        protocol.opening()
        protocol.end()
        for message in _messages(data):
            with contextlib.suppress(APIError):
                for heard in protocol.receive(message):
                    if isinstance(heard, Transcript):
                        _check_transcript(heard)
            assert isinstance(protocol.due, bool)

    return decode


def batch_answer(data: bytes) -> None:
    with contextlib.suppress(APIError):
        _check_transcript(read_answer(data.decode("utf-8", "replace")))


def _utterance(make: Callable[[Options], Utterance]) -> Callable[[bytes], None]:
    def decode(data: bytes) -> None:
        utterance = make(Options(voice="tara", word_timestamps=True))
        utterance.open()
        utterance.say(_TEXT)
        utterance.end()
        time = 0.0
        for message in _messages(data):
            for event in utterance.receive(message):
                if isinstance(event, Audio):
                    assert 0 < event.sample_rate <= 1_000_000
                elif isinstance(event, Spoken):
                    assert time <= event.start <= event.end
                    time = event.start
            assert isinstance(utterance.due, bool)
        utterance.closed(Closed(1000))

    return decode


def _body(make: Callable[[Options], OrpheusPredict | GenericPredict]) -> Callable[[bytes], None]:
    def decode(data: bytes) -> None:
        content_type = _TYPES[data[0] % len(_TYPES)] if data else ""
        reader = make(Options(voice="tara")).reader(_TEXT, content_type)
        events = [event for piece in _pieces(data) for event in reader.feed(piece)]
        events += reader.end()
        assert events
        for event in events:
            if isinstance(event, Audio):
                assert 0 < event.sample_rate <= 1_000_000

    return decode


def answer(data: bytes) -> None:
    for thinking in (False, True):
        reader = Answer(SpokenText(may_start_thinking=thinking))
        try:
            for piece in _pieces(data):
                list(reader.feed(piece))
            list(reader.end())
        except (APIError, FailureFrame, ValueError, ConnectionError, RecursionError):
            pass
        reader.usage()


class _Replies:
    """A WebSocket that gives these messages and is closed then."""

    request_id = None

    def __init__(self, data: bytes) -> None:
        self._messages = _messages(data)

    async def receive(self) -> str | bytes | Closed:
        return next(self._messages, Closed(1000))

    def error(self, closed: Closed) -> APIError:
        return errors.from_close(closed.code, "", what="voice.list", key=_KEY)


def voice_answer(data: bytes) -> None:
    # Nothing in it waits, so it needs no event loop.
    answering = _DESK._answer(_Replies(data), "voice.list")  # type: ignore[arg-type]
    found: object = None
    try:
        answering.send(None)
    except StopIteration as end:
        found = end.value
    except APIError:
        return
    assert isinstance(found, dict)


def error_bodies(data: bytes) -> None:
    text = data[1:].decode("utf-8", "replace")
    for error in (
        errors.from_status(data[0] * 4 if data else 500, what="x", body=data[1:], key=_KEY),
        errors.from_close(1000 + (data[0] if data else 0), text, what="x", key=_KEY),
        errors.from_frame(text, what="x", key=_KEY),
    ):
        assert isinstance(error, APIError)
        assert len(str(error)) < 3000
    pause = errors.retry_after({"Retry-After": text})
    assert pause is None or 0.0 <= pause <= 86400.0


DECODERS: dict[str, Callable[[bytes], None]] = {
    "whisper": _speech_protocol("whisper"),
    "qwen3-asr": _speech_protocol("qwen3-asr"),
    "batch": batch_answer,
    "orpheus": _utterance(OrpheusUtterance),
    "qwen3-tts": _utterance(Qwen3Utterance),
    "orpheus-body": _body(OrpheusPredict),
    "generic-body": _body(GenericPredict),
    "answer": answer,
    "voices": voice_answer,
    "errors": error_bodies,
}
