from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from livekit.plugins.baseten_sandbox.engines.alignment import align
from livekit.plugins.baseten_sandbox.engines.tones import (
    GAP_SECONDS,
    WORD_SECONDS,
    ToneDetector,
    ToneTranscriber,
    read,
    silence,
    speak,
)
from livekit.plugins.baseten_sandbox.protocols.telephony import decode_mulaw, double

words = st.lists(st.text("abcdefg'.,!é日", min_size=1, max_size=8), max_size=8)
rates = st.sampled_from([8000, 16000, 22050, 24000, 44100, 48000])


@settings(max_examples=60, deadline=None)
@given(said=words, rate=rates, lead=st.floats(0, 0.5), gap=st.floats(0.05, 0.4))
def test_what_is_said_is_read_at_its_time(
    said: list[str], rate: int, lead: float, gap: float
) -> None:
    audio, times = speak(said, rate=rate, gap=gap)
    heard = read(np.concatenate([silence(lead, rate=rate), audio]), rate=rate)
    assert [w.text for w in heard] == said
    for found, told in zip(heard, times, strict=True):
        assert found.start == pytest.approx(lead + told.start, abs=0.002)
        assert found.end == pytest.approx(lead + told.end, abs=0.002)


@settings(max_examples=60, deadline=None)
@given(rate=rates, share=st.floats(0.02, 0.98), front=st.booleans())
def test_a_cut_word_counts_when_more_than_half_is_there(
    rate: int, share: float, front: bool
) -> None:
    audio, _ = speak(["word"], rate=rate, gap=0.0)
    size = round(share * len(audio))
    piece = audio[:size] if front else audio[-size:] if size else audio[:0]
    heard = [w.text for w in read(piece, rate=rate)]
    if share > 0.53:
        assert heard == ["word"]
    elif share < 0.5:
        assert heard == []


@settings(max_examples=30, deadline=None)
@given(said=words.filter(bool), source=rates, target=st.sampled_from([16000, 24000, 48000]))
def test_it_survives_resampling(said: list[str], source: int, target: int) -> None:
    audio, _ = speak(said, rate=source)
    at = np.arange(0, len(audio) - 1, source / target)
    resampled = np.interp(at, np.arange(len(audio)), audio).astype(np.int16)
    assert [w.text for w in read(resampled, rate=target)] == said


@settings(max_examples=30, deadline=None)
@given(said=words.filter(bool))
def test_it_survives_the_telephone(said: list[str]) -> None:
    audio, _ = speak(said, rate=8000)
    # Encoded by search for the nearest level, so that the decoder isn't tested against itself.
    levels = np.sort(decode_mulaw(bytes(range(256))).astype(int))
    nearest = levels[np.abs(levels[None, :] - audio[:, None].astype(int)).argmin(axis=1)]
    assert [w.text for w in read(double(nearest.astype(np.int16)), rate=16000)] == said


def test_mulaw_has_the_levels_of_the_standard() -> None:
    assert decode_mulaw(b"\xff\x7f\x80\x00").tolist() == [0, 0, 32124, -32124]
    levels = decode_mulaw(bytes(range(256)))
    assert len(set(levels.tolist())) == 255


def test_audio_that_no_one_spoke_is_read_as_a_question_mark() -> None:
    noise = np.random.default_rng(1).integers(-9000, 9000, 16000 // 5).astype(np.int16)
    assert [w.text for w in read(noise)] == ["?"]
    assert read(b"") == ()


def test_the_detector_and_the_transcriber_agree() -> None:
    audio, _ = speak("one two")
    detector = ToneDetector()
    loud = [
        detector.probability(audio[at : at + 512]) > 0.5 for at in range(0, len(audio) - 511, 512)
    ]
    expected = 2 * WORD_SECONDS / (2 * (WORD_SECONDS + GAP_SECONDS))
    assert sum(loud) / len(loud) == pytest.approx(expected, abs=0.1)
    transcript = ToneTranscriber().transcribe(
        audio.astype(np.float32) / 32768.0, language=None, word_times=False
    )
    assert transcript.text == "one two"
    assert transcript.words == ()


def test_words_of_real_speech_share_its_time_in_order() -> None:
    voice = np.random.default_rng(1).integers(-8000, 8000, 24000).astype(np.int16)
    pcm = np.concatenate([silence(0.5, rate=24000), voice, silence(0.5, rate=24000)])
    times = align("a longer sentence here", pcm.tobytes(), rate=24000)
    assert [w.text for w in times] == ["a", "longer", "sentence", "here"]
    assert times[0].start == pytest.approx(0.5, abs=0.01)
    assert times[-1].end == pytest.approx(1.5, abs=0.01)
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(times))
    assert align("", pcm.tobytes(), rate=24000) == ()
