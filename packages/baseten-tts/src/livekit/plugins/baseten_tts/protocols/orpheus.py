"""Orpheus 3B, over WebSocket and HTTP.

Protocol facts from the deployments' public sources:
https://github.com/basetenlabs/truss-examples/tree/main/orpheus-3b-websockets and
https://github.com/basetenlabs/truss-examples/tree/main/orpheus-best-performance.
"""

from __future__ import annotations

import json

from livekit.plugins.baseten_common import Closed

from ..options import Options
from ..words import WordStream, spoken_units
from . import LONGEST, Audio, Event, Failed, Finished
from .http_audio import AudioBody, endless, judge

__all__ = ["SAMPLE_RATE", "OrpheusPredict", "OrpheusUtterance"]

SAMPLE_RATE = 24000
_BYTES_PER_SECOND = SAMPLE_RATE * 2
_END = "__END__"


class OrpheusUtterance:
    """One utterance over a WebSocket, which can serve only one.

    The server splits each frame at white space, appends the pieces to its buffer as whole words
    and speaks at most once for each frame: the complete sentences, or ``buffer_size`` words. So a
    frame carries one whole word; anything else is mispronounced or, at the end, not spoken at all.
    """

    def __init__(self, options: Options) -> None:
        """Prepare one utterance; nothing is sent."""
        self._options = options
        self._words = WordStream()
        self._frames = 0
        self._units = 0
        self._ended = False
        self._bytes = 0

    def open(self) -> list[str]:
        """The settings."""
        o = self._options
        settings: dict[str, object] = {
            "voice": o.voice,
            "max_tokens": o.max_tokens,
            "temperature": o.temperature,
            "buffer_size": o.buffer_size,
        }
        if o.top_p is not None:
            settings["top_p"] = o.top_p
        if o.repetition_penalty is not None:
            settings["repetition_penalty"] = o.repetition_penalty
        return [json.dumps(settings)]

    def say(self, text: str) -> list[str]:
        """The words that are complete, one a frame."""
        return self._frame(self._words.push(text))

    def linger(self) -> list[str]:
        """Nothing: the server waits as long as it takes."""
        return []

    def end(self) -> list[str]:
        """The last word and the end marker."""
        frames = self._frame(self._words.end())
        self._ended = True
        return [*frames, _END]

    def _frame(self, words: list[str]) -> list[str]:
        # The marker said by a user would end the utterance; its underscores can't be heard anyway.
        words = [word.strip("_") if word.strip() == _END else word for word in words]
        self._frames += len(words)
        self._units += sum(map(spoken_units, words))
        return words

    def receive(self, message: str | bytes) -> list[Event]:
        """Audio; any text is an error, since this protocol has none."""
        if isinstance(message, bytes):
            self._bytes += len(message)
            if self._bytes > LONGEST * _BYTES_PER_SECOND:
                return [endless(LONGEST)]
            return [Audio(message, SAMPLE_RATE)]
        try:
            payload = json.loads(message)
        except (ValueError, RecursionError):
            payload = message
        if isinstance(payload, dict) and payload.get("type") == "session.created":
            return [
                Failed(
                    "the deployment speaks a session protocol, not Orpheus's: name its own model=",
                    mismatch=True,
                )
            ]
        if isinstance(payload, dict) and payload.get("type") != "error" and "error" not in payload:
            return []
        return [Failed(payload=payload)]

    def closed(self, closed: Closed) -> Finished | Failed | None:
        """A close with 1000 after the end marker is the end, if the audio is long enough."""
        if closed.code != 1000 or not self._ended:
            return None
        return judge(self._units, self._bytes / _BYTES_PER_SECOND)

    @property
    def due(self) -> bool:
        """After the end, or when a full buffer of words has brought no audio at all.

        How many words the server still gathers then depends on where it finds sentences.
        """
        return self._ended or (self._frames >= self._options.buffer_size and not self._bytes)


class OrpheusPredict:
    """Synthesis by POST; the answer is PCM that streams in."""

    def __init__(self, options: Options) -> None:
        """Keep the options of the requests."""
        self._options = options

    def body(self, text: str) -> dict[str, object]:
        """The JSON to post.

        ``language`` isn't part of it: the model takes none, and the server hands keys that it
        doesn't know on to the engine.
        """
        o = self._options
        body: dict[str, object] = {
            "prompt": text,
            "voice": o.voice,
            "max_tokens": o.max_tokens,
            "temperature": o.temperature,
        }
        for name in ("top_p", "repetition_penalty", "max_chunk_size"):
            value = getattr(o, name)
            if value is not None:
                body[name] = value
        return body

    def reader(self, text: str, content_type: str) -> AudioBody:
        """Reads PCM or WAV; JSON is an error."""
        units = sum(map(spoken_units, text.split()))
        return AudioBody(content_type, units=units, sample_rate=SAMPLE_RATE, json_audio=False)
