"""The protocols alone: whatever the server says ends in audio, in success, or in a failure."""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, strategies as st

from livekit.plugins.baseten_common import Closed
from livekit.plugins.baseten_tts.alignment import Alignment
from livekit.plugins.baseten_tts.lines import Line
from livekit.plugins.baseten_tts.options import Options
from livekit.plugins.baseten_tts.protocols import Audio, Failed, Finished, Spoken, Utterance
from livekit.plugins.baseten_tts.protocols.http_audio import AudioBody, GenericPredict
from livekit.plugins.baseten_tts.protocols.orpheus import OrpheusUtterance
from livekit.plugins.baseten_tts.protocols.qwen3_tts import Qwen3Utterance
from livekit.plugins.baseten_tts.protocols.registry import DIALECTS

from .test_wav import SAMPLES, wav

OPTIONS = Options(voice="tara", word_timestamps=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
EVENT = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["audio.start", "audio.done", "session.done", "error", "timestamps", "session.created"]
        )
    },
    optional={
        "sentence_index": JSON,
        "sentence_text": JSON,
        "sample_rate": JSON | st.just(24000),
        "format": JSON | st.just("pcm") | st.just("wav"),
        "total_bytes": JSON | st.just(0),
        "total_sentences": JSON,
        "error": JSON,
        "message": JSON,
        "timestamp_info": st.fixed_dictionaries(
            {
                "word_alignment": st.fixed_dictionaries(
                    {
                        "words": st.lists(st.text(max_size=5) | JSON, max_size=4) | JSON,
                        "word_start_times_seconds": st.lists(st.floats() | JSON) | JSON,
                        "word_end_times_seconds": st.lists(st.floats() | JSON) | JSON,
                    }
                )
                | JSON
            }
        )
        | JSON,
    },
)
MESSAGE = st.binary(max_size=40) | st.text(max_size=20) | (EVENT | JSON).map(json.dumps)


@pytest.mark.parametrize("kind", [OrpheusUtterance, Qwen3Utterance])
@given(messages=st.lists(MESSAGE, max_size=12), text=st.text(max_size=30), code=st.integers())
def test_no_message_breaks_a_protocol(
    kind: type[Utterance], messages: list[str | bytes], text: str, code: int
) -> None:
    utterance = kind(OPTIONS)  # type: ignore[call-arg]
    sent = [*utterance.open(), *utterance.say(text), *utterance.end()]
    assert all(isinstance(message, str) for message in sent)
    for message in messages:
        for event in utterance.receive(message):
            assert event.__class__.__name__ in ("Audio", "Spoken", "Finished", "Failed")
        assert isinstance(utterance.due, bool)
    verdict = utterance.closed(Closed(code))
    assert verdict is None or isinstance(verdict, (Finished, Failed))


@given(
    st.text(max_size=60),
    st.lists(st.tuples(st.text(max_size=6), st.floats(0, 9), st.floats(0, 9)), max_size=8),
    st.integers(0, 80),
)
def test_aligned_pieces_are_the_text_and_their_times_never_go_back(
    text: str, words: list[tuple[str, float, float]], within: int
) -> None:
    alignment = Alignment()
    alignment.say(text)
    pieces = [*alignment.place(words, within=within), *alignment.place(words), *alignment.rest()]
    assert "".join(piece.text for piece in pieces) == text
    starts = [piece.start for piece in pieces]
    assert starts == sorted(starts)
    assert all(piece.end >= piece.start for piece in pieces)


@given(
    st.lists(st.tuples(st.sampled_from(["ab", "cd", "ef", "gh"]), st.floats(0, 9), st.floats(0, 9)))
)
def test_times_of_words_that_are_found_never_go_back(words: list[tuple[str, float, float]]) -> None:
    text = " ".join(word for word, _, _ in words)
    alignment = Alignment()
    alignment.say(text)
    pieces = [*alignment.place(words), *alignment.rest()]
    assert [piece.text.strip() for piece in pieces] == text.split()
    starts = [piece.start for piece in pieces]
    assert starts == sorted(starts)


def test_words_that_the_server_spells_otherwise_leave_the_text_as_it_is() -> None:
    alignment = Alignment()
    alignment.say('On  the 4th, she said: "Hi." ')
    words = ["on", "the", "fourth", "she", "said", "hi"]
    pieces = alignment.place([(word, float(i), i + 0.5) for i, word in enumerate(words)])
    assert [(piece.text, piece.start) for piece in pieces] == [
        ("On  ", 0.0),
        ("the 4th, ", 1.0),
        ("she ", 3.0),
        ('said: "', 4.0),
        ('Hi." ', 5.0),
    ]
    assert alignment.rest() == []


def test_a_letter_that_has_two_small_ones_moves_no_word() -> None:
    alignment = Alignment()
    alignment.say("İstanbul güzel.")
    pieces = alignment.place([("istanbul", 0.0, 0.5), ("güzel", 0.5, 1.0)])
    pieces += alignment.rest()
    assert [piece.text for piece in pieces][-1] == "güzel."


@pytest.mark.parametrize("offset", [0.0, 1.5])
def test_both_ways_to_count_word_times_are_told_apart(offset: float) -> None:
    utterance = Qwen3Utterance(OPTIONS)
    utterance.say("One. Two.")
    utterance.end()
    starts: list[float] = []
    for index, word in enumerate(["One.", "Two."]):
        first = (offset if index else 0.0) + 0.1
        times = {"words": [word]}
        alignment = {
            **times,
            "word_start_times_seconds": [first],
            "word_end_times_seconds": [first + 0.2],
        }
        for message in (
            json.dumps({"type": "audio.start", "sentence_index": index, "sentence_text": word}),
            bytes(72000),  # 1.5 s
            json.dumps({"type": "audio.done", "timestamp_info": {"word_alignment": alignment}}),
        ):
            starts += [e.start for e in utterance.receive(message) if isinstance(e, Spoken)]
    assert starts == pytest.approx([0.1, 1.6])


START, DONE, END = '{"type": "audio.start"}', '{"type": "audio.done"}', '{"type": "session.done"}'


@pytest.mark.parametrize(
    ("ended", "messages", "expected"),
    [
        (True, [START, bytes(72000), DONE, START, bytes(72000), DONE, END], Finished),
        (True, [START, bytes(72000), DONE, START, bytes(4800), END], Failed),  # half a sentence
        (True, [START, bytes(4800), DONE, END], Failed),  # too short for two words
        (True, [START, DONE, END], Failed),
        (True, [END], Failed),
        (False, [START, bytes(72000), DONE, END], Failed),  # there is text to come
    ],
)
def test_qwen_is_judged_by_its_audio_and_its_end(
    ended: bool, messages: list[str | bytes], expected: type
) -> None:
    utterance = Qwen3Utterance(Options(voice="vivian"))
    utterance.say("One. Two.")
    if ended:
        utterance.end()
    events = [event for message in messages for event in utterance.receive(message)]
    assert isinstance(events[-1], expected)


def test_words_that_the_aligner_leaves_out_are_captioned_all_the_same() -> None:
    utterance = Qwen3Utterance(OPTIONS)
    utterance.say("One. Two, and so on.")
    utterance.end()
    times = {"words": ["One"], "word_start_times_seconds": [0], "word_end_times_seconds": [1]}
    done = json.dumps({"type": "audio.done", "timestamp_info": {"word_alignment": times}})
    events = [e for m in (START, bytes(96000), done, END) for e in utterance.receive(m)]
    assert "".join(e.text for e in events if isinstance(e, Spoken)) == "One. Two, and so on."
    assert isinstance(events[-1], Finished)


def test_qwen_owes_audio_within_a_sentence_and_after_the_end() -> None:
    utterance = Qwen3Utterance(Options(voice="vivian"))
    utterance.say("One. Two")
    assert not utterance.due
    utterance.receive(START)
    assert utterance.due
    utterance.receive(bytes(72000))
    assert utterance.due
    utterance.receive(DONE)
    assert not utterance.due
    utterance.end()
    assert utterance.due


@pytest.mark.parametrize("uses", [0, 1])
def test_qwen_takes_nothing_late_of_an_earlier_utterance(uses: int) -> None:
    make = DIALECTS["qwen3-tts"].websocket
    assert make is not None
    options = Options(voice="vivian", word_timestamps=True)
    utterance = make(options, Line(ws=None, uses=uses))  # type: ignore[arg-type]
    times = {"words": ["Late"], "word_start_times_seconds": [0], "word_end_times_seconds": [1]}
    late = {"sentence_index": 0, "timestamp_info": {"word_alignment": times}}
    utterance.say("Late, but well.")
    heard = [
        *utterance.receive(bytes(1000)),
        *utterance.receive(json.dumps({"type": "timestamps", **late})),
        *utterance.receive(json.dumps({"type": "audio.done", "error": "no", **late})),
    ]
    assert [type(event) for event in heard] == ([] if uses else [Audio, Spoken, Failed])
    if uses:
        utterance.receive(START)
        assert utterance.receive(bytes(48000)) == [Audio(bytes(48000))]
        utterance.receive(DONE)
        utterance.end()
        assert utterance.receive('{"type": "session.done", "total_sentences": 1}')[-1] == (
            Finished(reusable=True)
        )


@pytest.mark.parametrize("format", ["mp3", "opus", 7])
def test_qwen_names_audio_that_cannot_be_played(format: object) -> None:
    utterance = Qwen3Utterance(Options(voice="vivian"))
    (failed,) = utterance.receive(json.dumps({"type": "audio.start", "format": format}))
    assert isinstance(failed, Failed)
    assert "response_format" in failed.reason
    assert failed.mismatch


def test_qwen_may_send_each_sentence_as_a_wav() -> None:
    utterance = Qwen3Utterance(Options(voice="vivian"))
    heard = b""
    for rate in (16000, 24000):
        utterance.receive(json.dumps({"type": "audio.start", "format": "wav"}))
        file = wav(SAMPLES.tobytes(), rate=rate)
        for i in range(0, len(file), 7):
            for event in utterance.receive(file[i : i + 7]):
                assert isinstance(event, Audio)
                assert event.sample_rate == rate
                heard += event.data
        utterance.receive(DONE)
    assert heard == 2 * SAMPLES.tobytes()


@pytest.mark.parametrize(
    ("words", "seconds", "code", "ended", "expected"),
    [
        (10, 3.0, 1000, True, Finished),
        (10, 1.0, 1000, True, Finished),
        (10, 0.99, 1000, True, Failed),
        (1, 0.0, 1000, True, Failed),
        (10, 3.0, 1000, False, type(None)),
        (10, 3.0, 1011, True, type(None)),
        (10, 3.0, 1005, True, type(None)),
        (10, 3.0, 1006, True, type(None)),
    ],
)
def test_orpheus_is_judged_by_its_audio(
    words: int, seconds: float, code: int, ended: bool, expected: type
) -> None:
    utterance = OrpheusUtterance(OPTIONS)
    utterance.say("word " * words)
    if ended:
        utterance.end()
    utterance.receive(bytes(2 * round(seconds * 24000)))
    assert isinstance(utterance.closed(Closed(code)), expected)


def test_orpheus_owes_audio_for_a_full_buffer_and_after_the_end() -> None:
    utterance = OrpheusUtterance(Options(voice="tara", buffer_size=3))
    utterance.say("one two ")
    assert not utterance.due
    utterance.say("three ")
    assert utterance.due
    utterance.receive(bytes(4096))
    assert not utterance.due
    utterance.say("four five six seven ")
    assert not utterance.due
    utterance.end()
    assert utterance.due


MARKED = "__END__ ," + "ab \n。é_E"


@given(
    st.text(MARKED, max_size=12),
    st.lists(st.sampled_from(["__END__", "__EN", "D__"])),
    st.randoms(),
)
def test_orpheus_is_told_of_the_end_once(text: str, markers: list[str], choice: Random) -> None:
    pieces = [*text, *markers]
    choice.shuffle(pieces)
    utterance = OrpheusUtterance(OPTIONS)
    frames = [frame for piece in pieces for frame in utterance.say(piece)]
    assert "__END__" not in [frame.strip() for frame in frames]
    frames += utterance.end()
    assert [frame.strip() for frame in frames].index("__END__") == len(frames) - 1


def body_of(data: bytes, content_type: str, *, piece: int = 7, units: int = 0) -> list[object]:
    body = AudioBody(content_type, units=units, sample_rate=16000, json_audio=True)
    events: list[object] = []
    for i in range(0, len(data), piece):
        events += body.feed(data[i : i + piece])
    return events + list(body.end())


@given(st.binary(max_size=120), st.integers(1, 60), st.booleans(), st.sampled_from(
    ["audio/wav", "application/json", "text/html", "", "application/octet-stream", "audio/mpeg"]
))  # fmt: skip
def test_any_body_ends_in_one_verdict(
    data: bytes, piece: int, riff: bool, content_type: str
) -> None:
    data = wav(SAMPLES.tobytes())[:44] + data if riff else data
    events = body_of(data, content_type, piece=piece)
    verdicts = [event for event in events if isinstance(event, (Finished, Failed))]
    assert len(verdicts) == 1
    assert verdicts[0] is events[-1]


@pytest.mark.parametrize("piece", [1, 5, 10_000])
@pytest.mark.parametrize(
    ("data", "content_type", "rate"),
    [
        (SAMPLES.tobytes(), "audio/wav", 16000),
        (wav(SAMPLES.tobytes(), rate=22050), "application/octet-stream", 22050),
        (json.dumps({"data": {"audio": base64.b64encode(SAMPLES.tobytes()).decode()},
                     }).encode(), "application/json", 16000),
        (json.dumps({"output": base64.b64encode(SAMPLES.tobytes()).decode(), "sample_rate": 44100,
                     }).encode(), "text/plain", 44100),
        (json.dumps({"base64": base64.b64encode(wav(SAMPLES.tobytes())).decode()}).encode(),
         "", 24000),
        (json.dumps({"audio": base64.b64encode(SAMPLES.tobytes()).decode(), "sample_rate": "22050",
                     }).encode(), "", 22050),
        (json.dumps({"audio": base64.b64encode(SAMPLES.tobytes()).decode(), "sample_rate": 8e3,
                     }).encode(), "", 8000),
        (json.dumps({"audio": base64.b64encode(SAMPLES.tobytes()).decode(), "sample_rate": "no",
                     }).encode(), "", 16000),
    ],
)  # fmt: skip
def test_a_body_is_known_by_its_bytes(
    data: bytes, content_type: str, rate: int, piece: int
) -> None:
    *audio, verdict = body_of(data, content_type, piece=piece)
    assert verdict == Finished()
    assert b"".join(part.data for part in audio if isinstance(part, Audio)) == SAMPLES.tobytes()
    assert {part.sample_rate for part in audio if isinstance(part, Audio)} == {rate}


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


LONG = SAMPLES.tobytes() * 30
WAVE = base64_of(wav(LONG))


@pytest.mark.parametrize(
    ("before", "audio", "after", "early"),
    [
        ('{"base64": "', WAVE, '"}', True),
        (
            '\n{"time": 0.5, "text": "{b}", "audio" :"data:audio/wav;base64,',
            WAVE,
            '", "x": {}}',
            True,
        ),
        ('{"output": "', WAVE.replace("/", "\\/"), '"}', None),
        ('{"output": "', "\\n".join(re.findall(".{1,76}", WAVE)), '"}', None),
        ('{"output": "', "\\u0055" + WAVE[1:], '"}', False),
        ('{"sample_rate": 16000, "audio": "', base64_of(LONG), '"}', False),
        ('{"result": {"audio": "', WAVE, '"}}', False),
        ('{"error": null, "audio": "', WAVE, '"}', False),
        ('{"data": "", "audio": "', WAVE, '"}', False),
        ('{"log": "' + 5000 * "x" + '", "audio": "', WAVE, '"}', False),
    ],
)
@given(st.lists(st.integers(0, 1000), max_size=6))
def test_wav_within_json_is_heard_before_the_end(
    before: str, audio: str, after: str, early: bool | None, cuts: list[int]
) -> None:
    document = f"{before}{audio}{after}".encode()
    edges = [0, *sorted(min(cut, len(document) - 4) for cut in cuts), len(document) - 4]
    body = AudioBody("application/json", units=0, sample_rate=16000, json_audio=True)
    ahead = [event for a, b in pairwise(edges) for event in body.feed(document[a:b])]
    assert early in (bool(ahead), None)
    *rest, verdict = body.feed(document[-4:]) + body.end()
    assert verdict == Finished()
    heard = [event for event in (*ahead, *rest) if isinstance(event, Audio)]
    assert b"".join(part.data for part in heard) == LONG


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (f'{{"audio": "{WAVE[:-40]}', "breaks off"),
        (f'{{"audio": "{WAVE[:-40]}"}}', "breaks off"),
        (f'{{"audio": "{WAVE[:-40]}?{WAVE[-39:]}"}}', "UklGR"),
        (f'{{"audio": "{WAVE}", "error": "out of memory"}}', "out of memory"),
        (f'{{"audio": "{WAVE}", "audio": 5}}', "no audio under any of"),
    ],
)
def test_wav_within_json_isnt_whole_before_the_end(document: str, words: str) -> None:
    *audio, verdict = body_of(document.encode(), "application/json")
    assert audio
    assert isinstance(verdict, Failed)
    assert words in f"{verdict.reason} {verdict.payload}"


def test_samples_may_begin_as_a_frame_of_mpeg_does() -> None:
    data = b"\xff\xfb\xf0\xfb" + LONG
    *audio, verdict = body_of(data, "")
    assert verdict == Finished()
    assert b"".join(part.data for part in audio if isinstance(part, Audio)) == data


@pytest.mark.parametrize(
    ("data", "content_type", "words"),
    [
        (b'{"error": "no such voice"}', "application/json", "no such voice"),
        (b'{"detail": "no audio here"}', "application/json", "no audio under any of"),
        (b'{"audio": "Error: out of memory"}', "application/json", "out of memory"),
        (b"<html>gateway</html>", "text/html", "gateway"),
        (b"Error: something", "audio/wav", "something"),
        (b"ID3" + bytes(20), "audio/wav", "MP3"),
        (b"\xff\xfa\x90" + bytes(20), "", "MP3"),
        (b"\xff\xf1\x50\x80" + bytes(20), "", "AAC"),
        (bytes(3) + b"\x20ftypM4A " + bytes(20), "", "MP4"),
        (b"\x1aE\xdf\xa3" + bytes(20), "", "WebM"),
        (b"RF64" + bytes(20), "audio/wav", "RF64"),
        (bytes(20), "audio/aac", "audio/aac"),
        (wav(SAMPLES.tobytes())[:-2], "audio/wav", "breaks off"),
        (wav(SAMPLES.tobytes(), tag=7, bits=8), "audio/wav", "aren't known"),
    ],
)
def test_a_body_without_speech_says_why(data: bytes, content_type: str, words: str) -> None:
    verdict = body_of(data, content_type)[-1]
    assert isinstance(verdict, Failed)
    assert words in f"{verdict.reason} {verdict.payload}"


def test_the_generic_request_is_a_template() -> None:
    options = Options(
        voice="af", language="en", text_field="input", extra_body={"speed": 1.5, "input": "x"}
    )
    assert GenericPredict(options).body("Hello.") == {
        "speed": 1.5,
        "voice": "af",
        "language": "en",
        "input": "Hello.",
    }
    bare = Options(voice="")
    assert GenericPredict(bare).body("Hello.") == {"text": "Hello."}
