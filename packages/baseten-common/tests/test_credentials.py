from __future__ import annotations

import copy
import pickle

import pytest

from livekit.plugins.baseten_common import ApiKey


def test_the_argument_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASETEN_API_KEY", "from-env")
    assert ApiKey.resolve("from-arg").reveal() == "from-arg"
    assert ApiKey.resolve().reveal() == "from-env"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_or_blank_key_names_both_ways_to_give_it(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASETEN_API_KEY", " ")
    with pytest.raises(ValueError, match=r"api_key=.*BASETEN_API_KEY"):
        ApiKey.resolve(value)


@pytest.mark.parametrize("value", ["a b", "a\r\nX-Evil: 1", "a\x00", "kéy"])
def test_a_key_that_could_break_out_of_the_header_is_refused_unseen(value: str) -> None:
    with pytest.raises(ValueError, match="header") as caught:
        ApiKey(value)
    assert value not in str(caught.value)


def test_white_space_around_a_pasted_key_is_dropped() -> None:
    assert ApiKey(" key\n").reveal() == "key"


def test_the_key_shows_nowhere() -> None:
    key = ApiKey("s3cret")
    for text in (repr(key), str(key), f"{key}", f"{[key]}"):
        assert "s3cret" not in text
    assert key.redact("bad key s3cret!") == "bad key [api key]!"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.copy(key)


def test_headers_by_scheme() -> None:
    key = ApiKey("k")
    assert key.headers() == {"Authorization": "Bearer k"}
    assert key.headers("Api-Key") == {"Authorization": "Api-Key k"}
    with pytest.raises(ValueError, match="auth_scheme"):
        key.headers("Basic")  # type: ignore[arg-type]


def test_equality_is_by_value() -> None:
    assert ApiKey("k") == ApiKey("k")
    assert ApiKey("k") != ApiKey("l")
    assert len({ApiKey("k"), ApiKey("k")}) == 1
