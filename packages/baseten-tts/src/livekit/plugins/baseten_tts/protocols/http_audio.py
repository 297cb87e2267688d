"""The bodies that speech comes in over HTTP: PCM, WAV, and JSON with base64 of either.

The shapes are those of Baseten's model library and examples
(https://github.com/basetenlabs/truss-examples): Kokoro answers ``{"base64": …}``, Chatterbox
``{"audio": …}``, Piper, CSM and XTTS ``{"output": …}``, streaming XTTS bare PCM.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable

from ..options import Options
from ..wav import WavError, WavReader
from ..words import spoken_units
from . import LONGEST, SECONDS_PER_WORD, Audio, Event, Failed, Finished

__all__ = ["AudioBody", "GenericPredict", "endless", "judge"]

_AUDIO_KEYS = ("audio", "base64", "output", "audio_base64", "audio_b64", "audio_content", "data")
_RATE_KEYS = ("sample_rate", "sampling_rate")
# How files begin that aren't decoded. A frame of MPEG starts with 12 bits that samples may have too,
# so the rest of its head has to make sense.
_CODECS = {
    "MP3": rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xeb]",
    "AAC": rb"\xff[\xf1\xf9][\x40-\x73]|ADIF",
    "MP4": rb"....ftyp",
    "Ogg": rb"OggS",
    "FLAC": rb"fLaC",
    "WebM": rb"\x1aE\xdf\xa3",
    "RF64": rb"RF64",
}
_CODEC_TYPES = frozenset(
    f"audio/{name}"
    for name in ["mpeg", "mp3", "ogg", "opus", "flac", "aac", "webm", "mp4", "m4a", "x-m4a"]
)
_MAX_JSON = 64 * 2**20
_SNIFF = 12
# How a document begins whose audio can be read before its end: with members that are neither audio
# nor an error, and then the audio.
_KEYS = "|".join(_AUDIO_KEYS).encode()
_OPENING = re.compile(
    rb'\s*\{\s*(?:(?!"(?:error|%b)")"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[-+.\w]+)\s*,\s*)*'
    rb'"(%b)"\s*:\s*"(?:data:[^,"\\]*,)?(?=[\w+/]{16})' % (_KEYS, _KEYS)
)
_LONGEST_OPENING = 4096
_FIRST = 16 * 2**10  # bytes of base64 that are read first, so that decoding delays no first sound


def judge(units: int, seconds: float) -> Finished | Failed:
    """Whether audio of this length can be the whole of so many words."""
    if units and seconds < units * SECONDS_PER_WORD:
        return Failed(f"{seconds:.2f} s of audio for {units} words can't be the whole of them")
    return Finished()


def endless(longest: float) -> Failed:
    """The failure for more audio than an utterance can have."""
    return Failed(f"more than {longest:g} s of audio for one text", mismatch=True)


class GenericPredict:
    """Synthesis by POST on any model: the request is a template, the answer is found out."""

    def __init__(self, options: Options) -> None:
        """Keep the options of the requests."""
        self._options = options

    def body(self, text: str) -> dict[str, object]:
        """The template with the text, and the voice and language when they were set."""
        o = self._options
        body: dict[str, object] = dict(o.extra_body)
        if o.voice and o.voice_field:
            body[o.voice_field] = o.voice
        if o.language:
            body["language"] = o.language
        body[o.text_field] = text
        return body

    def reader(self, text: str, content_type: str) -> AudioBody:
        """Reads whatever the model answers with."""
        units = sum(map(spoken_units, text.split()))
        rate = self._options.sample_rate
        return AudioBody(content_type, units=units, sample_rate=rate, json_audio=True)


class AudioBody:
    """Finds out what a body is by its first bytes, and reads it as it streams in."""

    def __init__(
        self, content_type: str, *, units: int, sample_rate: int, json_audio: bool
    ) -> None:
        """Start before the first byte.

        Args:
            content_type: The media type of the answer. Servers get it wrong, so it decides only
                what no speech can be.
            units: Words that were asked for; see :func:`judge`.
            sample_rate: In Hz, of samples that come without a header.
            json_audio: Whether JSON can hold the audio; otherwise it is an error.
        """
        self._type = content_type.lower()
        self._units = units
        self._rate = sample_rate
        self._json_audio = json_audio
        self._seconds = 0.0
        self._held = bytearray()
        self._failed = False
        self._guessed = False  # that the body is text, which its media type doesn't say
        self._early = json_audio  # whether audio may come before the document's end
        self._key = ""  # of the audio that does
        self._from = self._at = 0  # where its base64 begins, and what isn't decoded yet
        self._read: Callable[[bytes], list[Event]] = self._sniff
        self._wav: WavReader | None = None
        if self._type.startswith("text/") or self._type.endswith(("json", "xml")):
            self._read = self._hold

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes mean; nothing more after a failure."""
        if self._failed or not data:
            return []
        try:
            events = self._read(data)
        except WavError as e:
            events = [Failed(str(e), mismatch=True)]
        self._failed = any(isinstance(event, Failed) for event in events)
        return events

    def end(self) -> list[Event]:
        """What the end of the body means."""
        if self._failed:
            return []
        events: list[Event] = []
        if self._read == self._sniff:
            events = self._unsniffed()
        elif self._read == self._hold:
            events = self._document(bytes(self._held))
        if any(isinstance(event, Failed) for event in events):
            return events
        if self._wav is not None:
            try:
                self._wav.end()
            except WavError as e:
                return [*events, Failed(str(e))]
        return [*events, judge(self._units, self._seconds)]

    def _sniff(self, data: bytes) -> list[Event]:
        self._held += data
        if len(self._held) < _SNIFF:
            return []
        head = bytes(self._held)
        kind = next((name for name, start in _CODECS.items() if re.match(start, head, re.S)), None)
        if kind or self._type in _CODEC_TYPES:
            kind = kind or self._type
            return [Failed(f"the model sends {kind}: have it send WAV or PCM", mismatch=True)]
        if _is_text(head):
            self._read, self._guessed = self._hold, True
            return []
        self._held.clear()
        if _is_wav(head):
            self._wav = WavReader()
            self._read = self._wave
        else:
            self._read = self._pcm
        return self._read(head)

    def _unsniffed(self) -> list[Event]:
        data = bytes(self._held)
        self._read = self._pcm
        if data and _is_text(data):
            return [Failed(payload=data.decode())]
        return self._pcm(data)

    def _hold(self, data: bytes) -> list[Event]:
        self._held += data
        if len(self._held) > _MAX_JSON:
            return [Failed(f"the answer is larger than {_MAX_JSON} bytes", mismatch=True)]
        return self._read_ahead() if self._early else []

    def _read_ahead(self) -> list[Event]:
        """What can be played of a document before its end: a WAV file, which tells its own rate."""
        if not self._key:
            opening = _OPENING.match(self._held, 0, _LONGEST_OPENING)
            if opening is None:
                self._early = len(self._held) < _LONGEST_OPENING
                return []
            self._key, self._from = opening[1].decode(), opening.end()
            self._at = self._from
        end = self._held.find(b'"', self._at)
        end = len(self._held) if end < 0 else end
        if self._wav is None:
            end = min(end, self._at + _FIRST)
        end -= (end - self._at) % 4
        try:
            data = base64.b64decode(self._held[self._at : end], validate=True)
        except binascii.Error:
            self._early = False  # broken, or escaped as JSON allows: the end will tell
            return []
        if self._wav is None:
            if not _is_wav(data):
                self._early = False
                return []
            self._wav = WavReader()
        self._at = end
        return self._wave(data)

    def _pcm(self, data: bytes) -> list[Event]:
        return self._audio(data, self._rate)

    def _wave(self, data: bytes) -> list[Event]:
        assert self._wav is not None
        samples = self._wav.feed(data)
        return self._audio(samples, self._wav.sample_rate)

    def _audio(self, data: bytes, rate: int) -> list[Event]:
        if not data:
            return []
        self._seconds += len(data) / (2 * rate)
        return [Audio(data, rate)] if self._seconds <= LONGEST else [endless(LONGEST)]

    def _document(self, data: bytes) -> list[Event]:
        text = data.decode("utf-8", "replace").strip()
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            if self._guessed and not _is_text(data[:256]):
                return self._pcm(data)
            if self._wav is not None:
                return [Failed("the answer breaks off in the middle of its audio")]
            return [Failed(payload=text)] if text else []
        if not self._json_audio or not isinstance(document, dict) or document.get("error"):
            return [Failed(payload=document)]
        # A truss may wrap its answer once more.
        keys = _AUDIO_KEYS if self._wav is None else (self._key,)
        for part in (document, *(v for v in document.values() if isinstance(v, dict))):
            for key in keys:
                if isinstance(part.get(key), str) and part[key]:
                    rates = (_rate_of(part.get(name)) for name in _RATE_KEYS)
                    return self._decoded(part[key], next(filter(None, rates), self._rate))
        known = ", ".join(_AUDIO_KEYS)
        return [Failed(f"the answer holds no audio under any of {known}", mismatch=True)]

    def _decoded(self, text: str, rate: int) -> list[Event]:
        if text.startswith("data:"):
            text = text.partition(",")[2]
        try:
            rest = text[self._at - self._from :]
            data = base64.b64decode("".join(rest.split()), validate=True)
        except (binascii.Error, ValueError):
            return [Failed(payload=text)]  # an error told under the audio's key
        if self._wav is not None:
            return self._wave(data)
        self._held.clear()
        self._rate = rate
        self._type = ""
        self._read = self._sniff
        events = self.feed(data)
        if self._read == self._sniff:
            events += self._unsniffed()
        elif self._read == self._hold:
            return [Failed("the audio in the answer is JSON again", mismatch=True)]
        return events


def _rate_of(value: object) -> int:
    """A sample rate in Hz; 0 when the value is none."""
    try:
        rate = int(value) if isinstance(value, (str, int, float)) else 0
    except (ValueError, OverflowError):
        return 0
    return rate if 4000 <= rate <= 384000 else 0


def _is_wav(data: bytes) -> bool:
    return data.startswith(b"RIFF") and data[8:12] == b"WAVE"


def _is_text(data: bytes) -> bool:
    # Speech starts near silence, where bytes are none of these.
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in data)
