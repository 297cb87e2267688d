"""Qwen3-TTS over WebSocket: JSON messages, binary audio.

Protocol facts from the server's public source, ``serving_speech_stream.py`` in
https://github.com/basetenlabs/vllm-omni, and from LiveKit's published plugin.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from livekit.plugins.baseten_common import Closed

from ..alignment import Alignment
from ..options import Options
from ..wav import WavError, WavReader
from ..words import WordStream, encodable, spoken_units
from . import LONGEST, Audio, Event, Failed, Finished, Spoken
from .http_audio import endless, judge

__all__ = ["KEEP_ALIVE", "SAMPLE_RATE", "Qwen3Utterance", "session_config"]

SAMPLE_RATE = 24000
KEEP_ALIVE = 12.0
"""Seconds between signs of life; the server ends a session after 30 idle ones."""

_MAX_TEXT = 10_000  # characters of 12 bytes at most in JSON; the server takes messages of 128 KiB
_SLACK = 0.1  # seconds by which an aligner may be off


def session_config(options: Options, ref_audio: str | None = None) -> str:
    """The message that configures a session.

    Only what was set is sent: some servers refuse the whole for a key that they don't know.

    Args:
        options: The options of the session.
        ref_audio: A URL or the base64 of a clip to clone, in place of the file's name.
    """
    o = options
    config: dict[str, object] = {
        "type": "session.config",
        "task_type": o.task_type,
        "response_format": "pcm",
        "stream_audio": True,
        "speed": 1.0,
    }
    if o.voice:
        config["voice"] = o.voice
    names = ("language", "instructions", "max_new_tokens")
    for name in (*names, "initial_codec_chunk_frames", "x_vector_only_mode"):
        if getattr(o, name) is not None:
            config[name] = getattr(o, name)
    if ref_audio:
        config["ref_audio"] = ref_audio
        if o.ref_text:
            config["ref_text"] = o.ref_text
    if o.word_timestamps:
        # Sent with the end of each sentence's audio rather than anywhere between.
        config["timestamp_type"] = "word"
        config["timestamp_transport_strategy"] = "sync"
    config.update(o.extra_config)
    return json.dumps(config)


class Qwen3Utterance:
    """One utterance of a configured session."""

    def __init__(
        self,
        options: Options,
        *,
        owed: int = 0,
        used: bool = False,
        config: str | None = None,
    ) -> None:
        """Prepare one utterance; nothing is sent.

        Args:
            options: The options of the session.
            owed: Answers to signs of life that are still on their way.
            used: Whether the session has had an utterance, of which something may come late.
            config: The session's configuration, when it hasn't been sent yet.
        """
        self._options = options
        self._config = config
        self._owed = owed
        self._late = used  # until the first sentence begins, audio isn't this utterance's
        self._words = WordStream()
        self._units = 0
        self._ended = False
        self._rate = SAMPLE_RATE
        self._wav: WavReader | None = None
        self._seconds = 0.0
        self._sentences = 0
        self._sentence_bytes = 0
        self._sentence_text = ""
        self._sentence_start = 0.0
        self._starts: dict[object, tuple[float, int]] = {}
        self._open_sentence = False
        self._local_times = False
        self._alignment = Alignment()

    def open(self) -> list[str]:
        """The configuration, if the session lacks it."""
        return [self._config] if self._config else []

    def say(self, text: str) -> list[str]:
        """The text as it came; the server finds the sentences."""
        text = encodable(text)
        self._units += sum(map(spoken_units, self._words.push(text)))
        self._alignment.say(text)
        parts = [text[i : i + _MAX_TEXT] for i in range(0, len(text), _MAX_TEXT)]
        return [json.dumps({"type": "input.text", "text": part}) for part in parts]

    def linger(self) -> list[str]:
        """Text without a character, since the server gives up after 30 s without a message."""
        return [json.dumps({"type": "input.text", "text": ""})]

    def end(self) -> list[str]:
        """The request to speak the rest."""
        self._units += sum(map(spoken_units, self._words.end()))
        self._ended = True
        return [json.dumps({"type": "input.done"})]

    def receive(self, message: str | bytes) -> list[Event]:
        """Audio, or what a message says."""
        if isinstance(message, bytes):
            if self._late:
                return []
            self._sentence_bytes += len(message)
            return self._samples(message)
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            return [Failed("the server sent a message that isn't JSON")]
        if not isinstance(event, dict):
            return [Failed("the server sent a message that isn't an object")]
        kind = event.get("type")
        if kind == "audio.start":
            return self._start(event)
        if kind == "audio.done":
            return [] if self._late else self._done(event)
        if kind in ("timestamps", "audio.timestamps"):
            return [] if self._late else self._times(event)
        if kind == "session.done":
            return self._session_done(event)
        if kind == "error":
            return [Failed(payload=event)]
        return []

    def closed(self, closed: Closed) -> Finished | Failed | None:
        """Any close before ``session.done`` is a failure, which the close code tells."""
        return None

    @property
    def due(self) -> bool:
        """After the end, or inside a sentence. Before, the server may be waiting for text."""
        return self._ended or self._open_sentence

    def _samples(self, data: bytes) -> list[Event]:
        rate = self._rate
        if self._wav is not None:
            try:
                data = self._wav.feed(data)
            except WavError as e:
                return [Failed(str(e), mismatch=True)]
            rate = self._wav.sample_rate
        if not data:
            return []
        self._seconds += len(data) / (2 * rate)
        return [Audio(data, rate)] if self._seconds <= LONGEST else [endless(LONGEST)]

    def _start(self, event: Mapping[str, object]) -> list[Event]:
        format, rate = event.get("format"), event.get("sample_rate")
        if format not in (None, "", "pcm", "wav"):
            return [Failed(f"audio comes as {format}: set response_format to pcm", mismatch=True)]
        self._wav = WavReader() if format == "wav" else None
        if isinstance(rate, (int, float)) and not isinstance(rate, bool):
            if not 4000 <= rate <= 384000:
                return [Failed(f"a sample rate of {rate} Hz can't be played", mismatch=True)]
            self._rate = int(rate)
        text = event.get("sentence_text")
        self._sentence_text = text if isinstance(text, str) else ""
        self._sentence_start = self._seconds
        self._sentence_bytes = 0
        self._starts[_hashable(event.get("sentence_index"))] = (
            self._seconds,
            len(self._sentence_text),
        )
        self._open_sentence = True
        self._late = False
        return []

    def _done(self, event: Mapping[str, object]) -> list[Event]:
        self._open_sentence = False
        self._sentences += 1
        if event.get("error"):
            words = event["error"] if isinstance(event["error"], (str, dict)) else ""
            return [Failed(payload=words or event.get("message") or "a sentence failed")]
        total = event.get("total_bytes")
        if isinstance(total, int) and self._sentence_bytes < total:
            return [Failed("part of a sentence's audio is missing")]
        return self._times(event)

    def _session_done(self, event: Mapping[str, object]) -> list[Event]:
        if self._owed and not self._sentences and not self._seconds:
            self._owed -= 1
            return []
        if not self._ended:
            return [Failed("the server ended the session before the text's end")]
        if self._open_sentence:
            return [Failed("the server ended the session in the middle of a sentence")]
        total = event.get("total_sentences")
        if isinstance(total, int) and self._sentences < total:
            return [Failed(f"{total - self._sentences} of {total} sentences were not spoken")]
        if not self._seconds and self._units:
            return [Failed("the server ended the session without audio")]
        verdict = judge(self._units, self._seconds)
        if isinstance(verdict, Failed):
            return [verdict]
        rest = self._alignment.rest() if self._options.word_timestamps else []
        return [*rest, Finished(reusable=True)]

    def _times(self, event: Mapping[str, object]) -> list[Event]:
        if not self._options.word_timestamps:
            return []
        index = _hashable(event.get("sentence_index"))
        offset, length = self._starts.get(index, (self._sentence_start, len(self._sentence_text)))
        words = _alignment_words(event.get("timestamp_info"))
        if not words:
            return []
        # Servers differ in whether times start anew with each sentence. Words that would be heard
        # before their sentence begins tell that they do.
        if offset > _SLACK and words[0][1] < offset - _SLACK:
            self._local_times = True
        shift = offset if self._local_times else 0.0
        pieces: list[Spoken] = self._alignment.place(
            [(word, start + shift, end + shift) for word, start, end in words], within=length
        )
        return [*pieces]


def _hashable(value: object) -> object:
    return value if isinstance(value, (int, str)) else None


def _alignment_words(info: object) -> list[tuple[str, float, float]]:
    alignment = info.get("word_alignment") if isinstance(info, Mapping) else None
    if not isinstance(alignment, Mapping):
        return []
    lists = [
        alignment.get(name)
        for name in ("words", "word_start_times_seconds", "word_end_times_seconds")
    ]
    if not all(isinstance(values, list) for values in lists):
        return []
    words: list[tuple[str, float, float]] = []
    for word, start, end in zip(*(v for v in lists if isinstance(v, list)), strict=False):
        if isinstance(word, str) and _is_time(start) and _is_time(end):
            words.append((word, float(start), float(end)))
    return words


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < 86400
