from __future__ import annotations

import asyncio
import threading

import pytest

from livekit.plugins.baseten_sandbox import BackgroundSandbox, Fault

pytest_plugins = ["pytester"]

HEAD = """
import asyncio, os, urllib.request
import pytest
from livekit.plugins.baseten_sandbox import Fault

def speak(url, key):
    import json
    request = urllib.request.Request(
        url, json.dumps({"prompt": "hello"}).encode(), {"Authorization": "Bearer " + key})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini(
        "[pytest]\nbaseten_sandbox_engines = tones\nasyncio_default_fixture_loop_scope = function"
    )
    return pytester


def test_a_user_tests_a_program_in_a_few_lines(project: pytest.Pytester) -> None:
    project.makepyfile(
        HEAD
        + """
def test_it_speaks(baseten_environ):
    assert speak(os.environ["BASETEN_TTS_MODEL_ENDPOINT"], os.environ["BASETEN_API_KEY"])

def test_the_environment_is_restored():
    assert "BASETEN_TTS_MODEL_ENDPOINT" not in os.environ

def test_one_sandbox_serves_the_session_and_faults_are_injected(baseten_sandbox, baseten_faults):
    assert len(baseten_sandbox.sessions) == 1
    baseten_faults.add(Fault(do="status", status=429))
    baseten_faults.add(Fault(do="reset"))
    with pytest.raises(urllib.error.HTTPError, match="429"):
        speak(baseten_sandbox.tts_endpoint, baseten_sandbox.api_key)

def test_faults_left_over_are_gone(baseten_sandbox):
    assert baseten_sandbox.faults.pending == 0
    assert speak(baseten_sandbox.tts_endpoint, baseten_sandbox.api_key)

def test_waiting_works_on_any_event_loop(baseten_sandbox):
    async def wait():
        return await baseten_sandbox.wait_sessions(3, closed=True)
    assert [s.status for s in asyncio.run(wait())] == [200, 429, 200]
"""
    )
    result = project.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=5)


def test_an_unknown_engine_is_refused_with_the_choices(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nbaseten_sandbox_engines = magic")
    project.makepyfile("def test_it(baseten_sandbox): pass")
    result = project.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['*baseten_sandbox_engines is "models" or "tones", not \'magic\'*'])


def test_it_costs_nothing_when_it_is_not_used(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
import sys
def test_it():
    assert "livekit.plugins.baseten_sandbox.pytest_plugin" in sys.modules
    assert not {"aiohttp", "numpy", "livekit.plugins.baseten_sandbox.sandbox"} & set(sys.modules)
"""
    )
    project.runpytest_subprocess("-q", "-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_background_sandbox_that_can_not_start_leaves_no_thread() -> None:
    with BackgroundSandbox(transcriber="tones", synthesizer="tones") as sandbox:
        before = threading.active_count()
        with (
            pytest.raises(OSError, match=str(sandbox.port)),
            BackgroundSandbox(port=sandbox.port, transcriber="tones", synthesizer="tones"),
        ):
            pass
        assert threading.active_count() == before
        assert asyncio.run(sandbox.strike(Fault(do="reset"))) == 0
