from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from livekit.plugins.baseten_tts.words import WordStream, speakable, spoken_units

# Letters of scripts with and without spaces, marks, punctuation, spaces of every kind, halves of
# surrogate pairs.
ALPHABET = "abcé'’-.,!?…\"«»)( \t\n\u00a0\u2003\u200b漢字かなカナ。、！」ไทยกำ้ñ́ัด7_\ud83d😀"


def cut(text: str, at: list[int]) -> list[str]:
    edges = [0, *sorted(min(i, len(text)) for i in at), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


def words_of(pieces: list[str]) -> list[str]:
    stream = WordStream()
    words = [word for piece in pieces for word in stream.push(piece)]
    return words + stream.end()


@given(st.text(ALPHABET, max_size=80), st.lists(st.integers(0, 80), max_size=20))
def test_the_words_do_not_depend_on_how_a_text_is_cut(text: str, at: list[int]) -> None:
    assert words_of(cut(text, at)) == words_of([text])


@given(st.text("abcé'’-.,!?…\"() \t\n\u00a0\u2003", max_size=80), st.lists(st.integers(0, 80)))
def test_with_spaces_between_words_they_are_those_of_split(text: str, at: list[int]) -> None:
    assert words_of(cut(text, at)) == text.split()


@given(st.text(max_size=200))
def test_no_character_is_lost_and_every_word_can_be_sent(text: str) -> None:
    words = words_of([text])
    sendable = text.encode("utf-8", "ignore").decode()
    assert "".join(words) == "".join(sendable.split())
    assert all(word and not any(ch.isspace() for ch in word) for word in words)


def test_deltas_of_a_language_model_make_whole_words() -> None:
    assert words_of([" un", "believ", "able", ",", " isn", "'t", " it", "?"]) == [
        "unbelievable,",
        "isn't",
        "it?",
    ]


def test_chinese_is_cut_after_its_clauses() -> None:
    assert words_of(["你好，世界。今天", "天气很好！"]) == ["你好，", "世界。", "今天天气很好！"]


def test_a_closing_quote_stays_with_its_clause() -> None:
    assert words_of(["「はい。」と言った"]) == ["「はい。」と言った"]


def test_a_long_run_without_spaces_is_cut() -> None:
    words = words_of(["字" * 100])
    assert max(map(len, words)) <= 13
    assert sum(map(spoken_units, words)) >= 25


def test_a_thai_mark_stays_on_its_letter() -> None:
    words = words_of(["กำ้" * 40])
    assert len(words) > 1
    assert all(word[0] == "ก" for word in words)


@pytest.mark.parametrize("sound", ["シャー", "きょう", "ロケット", "パン", "เท้า", "ไมโล", "ເປົ້າ"])
def test_a_sound_is_never_cut_in_two(sound: str) -> None:
    for before in range(60):
        words = words_of(["ก" * before + sound * 20])
        assert len(words) > 1
        assert not any(word[0] in "ャーょッンาໂໂາ" or word[-1] in "เไโເ" for word in words)


def test_what_can_be_said() -> None:
    assert speakable("a")
    assert speakable("… 5")
    assert speakable("%")
    assert speakable("€")
    assert not speakable(" … — “” \n")
    assert speakable("+")
    assert not speakable("🙂")
    assert not speakable("↔️ ◾ ▶️")
    assert spoken_units("—") == 0
    assert spoken_units("supercalifragilistic") == 1
