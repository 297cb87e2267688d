from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from hypothesis import given, strategies as st

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError
from livekit.plugins.baseten_common import ApiKey, errors

KEY = ApiKey("s3cret")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["message", "error", "body", "code", "status", "error_type", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 301, 501])
def test_statuses_that_stay_wrong_are_final(status: int) -> None:
    error = errors.from_status(status, what="speech-to-text")
    assert isinstance(error, APIStatusError)
    assert error.status_code == status
    assert not error.retryable


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
def test_statuses_that_pass_are_retried(status: int) -> None:
    assert errors.from_status(status, what="x").retryable


def test_the_server_s_words_and_request_id_reach_the_user_and_the_key_does_not() -> None:
    error = errors.from_status(
        401,
        what="text-to-speech",
        body=b'{"error": "bad key s3cret"}',
        headers={"X-Baseten-Request-Id": "r1"},
        key=KEY,
    )
    assert isinstance(error, APIStatusError)
    assert error.request_id == "r1"
    assert "the API key was refused" in str(error)
    assert "bad key [api key]" in str(error)
    assert "s3cret" not in repr(error)


def test_a_body_that_is_not_json_passes_as_it_is() -> None:
    error = errors.from_status(500, what="x", body=b"An internal server error occurred\n 7")
    assert "An internal server error occurred 7" in str(error)
    assert "…" in str(errors.from_status(500, what="x", body=b"y" * 10_000))


def test_499_is_not_taken_for_the_framework_s_own_cancellation() -> None:
    error = errors.from_status(499, what="x")
    assert not isinstance(error, APIStatusError)
    assert error.retryable


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 4001, None])
def test_closes_that_pass_are_retried(code: int | None) -> None:
    assert errors.from_close(code, what="x").retryable


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010])
def test_closes_that_stay_wrong_are_final(code: int) -> None:
    error = errors.from_close(code, "why", what="x", request_id="r")
    assert isinstance(error, APIStatusError)
    assert (error.status_code, error.request_id, error.retryable) == (code, "r", False)
    assert "why" in str(error)


def test_a_model_s_own_close_code_is_judged_by_its_words() -> None:
    assert not errors.from_close(4004, "unknown voice", what="x").retryable
    assert errors.from_close(4008, "timed out", what="x").retryable


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "error", "message": "unknown voice"},
        {"type": "error", "error": "unknown voice"},
        {"type": "error", "error": {"message": "unknown voice"}},
        {"type": "error", "body": {"message": "unknown voice"}},
        {"type": "error", "body": {"error": "unknown voice"}},
        {"type": "error", "body": "unknown voice"},
        {"type": "error", "message": None, "error": ["unknown voice"]},
    ],
)
def test_an_error_frame_of_any_shape_gives_its_words(frame: object) -> None:
    error = errors.from_frame(frame, what="text-to-speech")
    assert "unknown voice" in str(error)
    assert not error.retryable


def test_an_error_frame_is_retried_unless_it_says_the_request_is_wrong() -> None:
    assert errors.from_frame({"message": "CUDA out of memory"}, what="x").retryable
    assert errors.from_frame({"message": "rate limit: invalid now"}, what="x").retryable
    assert errors.from_frame({}, what="x").retryable
    assert errors.from_frame({"message": "request rate: not allowed now"}, what="x").retryable
    for final in (
        "Failed to generate speech: unsupported speaker 'bob'",
        "validated against the schema: unknown voice 'bob'",
        "sample rate 5 is invalid",
    ):
        assert not errors.from_frame({"message": final}, what="x").retryable
    wrong = {"body": {"message": "hm", "error_type": "CONFIGURATION_ERROR"}}
    assert not errors.from_frame(wrong, what="x").retryable
    assert not errors.from_frame({"error": {"code": 404, "message": "hm"}}, what="x").retryable
    for frame in ({"message": "hm"}, {"message": "hm", "status": 400}, wrong):
        tracked = errors.from_frame(frame, what="x", request_id="r")
        assert isinstance(tracked, APIStatusError)
        assert tracked.request_id == "r"


@given(json_values)
def test_any_frame_gives_an_error_of_bounded_length(frame: object) -> None:
    error = errors.from_frame(frame, what="x", key=KEY)
    assert isinstance(error, APIError)
    assert len(str(error)) < 2000


@given(st.binary(max_size=200), st.integers(100, 999))
def test_any_body_gives_an_error(body: bytes, status: int) -> None:
    assert isinstance(errors.from_status(status, what="x", body=body), APIError)


def test_deep_json_is_no_trouble() -> None:
    deep: object = "end"
    for _ in range(500):
        deep = {"error": deep}
    assert isinstance(errors.from_frame(deep, what="x"), APIError)
    assert isinstance(errors.from_status(500, what="x", body=b"[" * 100_000), APIError)


def test_exceptions_of_the_transport() -> None:
    assert isinstance(errors.from_exception(asyncio.TimeoutError(), what="x"), APITimeoutError)
    given_error = APIConnectionError("as it is")
    assert errors.from_exception(given_error, what="x") is given_error
    lost = errors.from_exception(ConnectionResetError("reset s3cret"), what="x", key=KEY)
    assert isinstance(lost, APIConnectionError)
    assert lost.retryable
    assert "s3cret" not in str(lost)
    assert not errors.from_exception(RuntimeError("Session is closed"), what="x").retryable
    assert not errors.from_exception(aiohttp.InvalidURL("x"), what="x").retryable


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("-3", 0.0), ("nan", 0.0), ("inf", 86400.0), ("soon", None)],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert errors.retry_after({"retry-after": value}) == seconds


def test_retry_after_as_a_date_and_absent() -> None:
    assert errors.retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    far = errors.retry_after({"Retry-After": "Wed, 21 Oct 2099 07:28:00 -0000"})
    assert far == 86400.0
    assert errors.retry_after({"Retry-After": "Wed, 55555555555 Oct 2026 07:28:00 GMT"}) is None
    assert errors.retry_after({}) is None
    assert errors.retry_after(None) is None


def test_a_cold_start_is_told_from_other_refusals() -> None:
    body = json.dumps({"error": "Model with name model is not ready."})
    assert errors.is_cold_start(503, body)
    assert not errors.is_cold_start(503, b"draining")
    assert errors.is_cold_start(504)
    assert not errors.is_cold_start(429)


def test_what_the_client_finds_wrong() -> None:
    short = errors.from_finding("too short", what="speech", request_id="r7")
    assert short.retryable
    assert str(short).startswith("speech: too short")
    assert "r7" in str(short)
    assert not errors.from_finding("comes as MP3", what="speech", mismatch=True).retryable
    refused = errors.from_finding(
        "configuration rejected", what="x", status_code=1011, request_id="r8"
    )
    assert isinstance(refused, APIStatusError)
    assert (refused.status_code, refused.request_id, refused.retryable) == (1011, "r8", True)
    other = errors.from_finding("another kind", what="x", mismatch=True, status_code=1011)
    assert not other.retryable


def test_what_was_handed_on_in_part_is_not_asked_for_again() -> None:
    error = errors.from_close(1012, what="x")
    assert error.retryable
    assert errors.handed_on(error) is error
    assert not error.retryable
