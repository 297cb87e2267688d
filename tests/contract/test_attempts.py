"""How often a thing is tried, what is reported of it, and what isn't: the same for all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from livekit.agents import APIConnectOptions, APIError, APIStatusError, APITimeoutError
from livekit.plugins.baseten_sandbox import Fault, Sandbox

from .uses import SAID, USES, Use

ALL = pytest.mark.parametrize("use", USES, ids=lambda use: use.name)
TRIES = APIConnectOptions(max_retry=2, retry_interval=0.01, timeout=5.0)
ONCE = APIConnectOptions(max_retry=0, timeout=5.0)
IN_A_HURRY = APIConnectOptions(max_retry=0, timeout=0.3)
BOUND = 20.0  # seconds; far above what a slow machine needs, far below for ever


async def failed(use: Use, model: Any, conn: APIConnectOptions) -> APIError:
    with pytest.raises(APIError) as caught:
        await asyncio.wait_for(use.run(model, conn), BOUND)
    return caught.value


def root(error: BaseException) -> BaseException:
    """LiveKit wraps the last error when it gives up."""
    return error.__cause__ or error


@ALL
async def test_a_use_gives_every_word_and_its_metrics(use: Use, sandbox: Sandbox, watch) -> None:
    watched = watch(use.make(sandbox))
    for number in (1, 2):
        assert await use.run(watched.model, TRIES) == SAID
        assert len(watched.usage) == number
    assert not watched.errors
    ids = set()
    for metrics in watched.usage:
        assert metrics.label == watched.model.label
        assert metrics.metadata.model_provider == watched.model.provider == "Baseten"
        assert metrics.metadata.model_name == watched.model.model != "unknown"
        ids.add(metrics.request_id)
        if use.kind == "stt":
            assert metrics.streamed is use.streamed
            assert metrics.audio_duration == pytest.approx(1.5, abs=0.05)
        elif use.kind == "tts":
            assert metrics.streamed is use.streamed
            assert metrics.characters_count == len(SAID)
            assert metrics.audio_duration > 0.5
            assert 0 < metrics.ttfb <= metrics.duration
            assert not metrics.cancelled
        else:
            assert 0 < metrics.ttft <= metrics.duration
            assert metrics.completion_tokens > 0
            assert not metrics.cancelled
    assert "" not in ids
    assert len(ids) == 2
    assert {s.authorized for s in sandbox.sessions} == {True}


@ALL
async def test_what_fails_for_ever_is_tried_so_often_and_no_more(
    use: Use, sandbox: Sandbox, watch
) -> None:
    sandbox.faults.add(Fault(do="status", status=500, body={"error": "boom"}), times=None)
    watched = watch(use.make(sandbox))
    for tries in (TRIES, ONCE):
        before = len(sandbox.sessions)
        watched.errors.clear()
        error = await failed(use, watched.model, tries)
        assert len(sandbox.sessions) - before == tries.max_retry + 1
        assert watched.recoverable == [True] * tries.max_retry + [False]
        assert all(isinstance(event.error, APIError) for event in watched.errors)
        last = root(error)
        assert isinstance(last, APIStatusError)
        assert last.status_code == 500
        assert last.request_id == sandbox.sessions[-1].request_id
    # Audio that was pushed counts as used, whatever became of it.
    assert (use.name.endswith("stream") and use.kind == "stt") or not watched.usage


@ALL
async def test_what_fails_once_is_made_good(use: Use, sandbox: Sandbox, watch) -> None:
    sandbox.faults.add(Fault(do="status", status=503), times=1)
    sandbox.faults.add(Fault(do="reset", on="send"), times=1)
    watched = watch(use.make(sandbox))
    assert await use.run(watched.model, TRIES) == SAID
    assert watched.recoverable == [True, True]
    assert len(watched.usage) == 1
    assert len(sandbox.sessions) == 3


@ALL
async def test_a_wrong_key_is_not_tried_again(use: Use, sandbox: Sandbox, watch) -> None:
    model = use.make(sandbox)
    sandbox.faults.add(Fault(do="status", status=401, body={"error": "who?"}), times=None)
    watched = watch(model)
    error = await failed(use, model, TRIES)
    assert not error.retryable
    assert isinstance(root(error), APIStatusError)
    assert len(sandbox.sessions) == 1
    assert watched.recoverable == [False]


@ALL
async def test_a_peer_that_never_answers_ends_at_the_timeout(
    use: Use, sandbox: Sandbox, watch
) -> None:
    sandbox.faults.add(Fault(do="park"), times=None)
    watched = watch(use.make(sandbox))
    error = await failed(use, watched.model, IN_A_HURRY)
    assert isinstance(root(error), APITimeoutError)
    assert watched.recoverable == [False]


@pytest.mark.parametrize(
    "use", [use for use in USES if not use.in_one_piece], ids=lambda use: use.name
)
async def test_a_peer_that_falls_silent_ends_at_the_timeout(
    use: Use, sandbox: Sandbox, watch
) -> None:
    sandbox.faults.add(Fault(do="silence", on="send"), times=None)
    watched = watch(use.make(sandbox))
    error = await failed(use, watched.model, IN_A_HURRY)
    assert isinstance(root(error), APITimeoutError)
    assert watched.recoverable == [False]
    assert use.kind == "stt" or not watched.usage


@ALL
async def test_rubbish_is_an_api_error(use: Use, sandbox: Sandbox, watch) -> None:
    rubbish = Fault(do="replace", on="send", payload="\x00}{", count=None)
    if use.in_one_piece:
        rubbish = Fault(do="status", status=200, body="\x00}{")
    sandbox.faults.add(rubbish, times=None)
    watched = watch(use.make(sandbox))
    await failed(use, watched.model, IN_A_HURRY)
    assert watched.recoverable == [False]


# Of the others nothing is heard before the whole answer is there.
HEARD_AS_IT_COMES = [
    use for use in USES if (use.kind == "tts" and not use.in_one_piece) or use.name == "model-api"
]


@pytest.mark.parametrize("use", HEARD_AS_IT_COMES, ids=lambda use: use.name)
async def test_what_was_begun_to_be_heard_is_not_said_again(
    use: Use, sandbox: Sandbox, watch
) -> None:
    """Half of it is no success, and to try again would say the first half twice."""
    after: dict[str, Any] = {"after": 2 if use.kind == "llm" else 6}
    if use.deployment == "orpheus1":
        after = {"after": 30_000, "unit": "bytes"}
    sandbox.faults.add(Fault(do="reset", on="send", **after), times=None)
    watched = watch(use.make(sandbox))
    await failed(use, watched.model, TRIES)
    assert len(sandbox.sessions) == 1
    assert watched.recoverable == [False]
