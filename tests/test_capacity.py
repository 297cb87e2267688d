"""The model of capacity: cases worked out by hand, the document, and that the measurement runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from surroundings import surroundings

HERE = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def capacity() -> Any:
    sys.path.insert(0, str(HERE))
    try:
        import capacity
    finally:
        sys.path.remove(str(HERE))
    return capacity


@pytest.fixture(scope="module")
def model(capacity: Any) -> Any:
    return sys.modules["capacity_model"]


def test_a_conversation_comes_to_this_a_minute(model: Any) -> None:
    talk = model.Conversation(turn=10, speech=4, prompt=900, answer=100)
    assert talk.speaking == 0.4
    assert talk.requests == 6
    assert talk.tokens == 6000
    # 16 bits, 16 kHz up, and 24 kHz down in 0.4 of the time.
    assert talk.kilobits == pytest.approx(256 + 384 * 0.4)
    assert model.Conversation(turn=2, speech=4).speaking == 1


def test_how_many_speak_at_once_in_a_thousandth_of_the_time(model: Any) -> None:
    # 100 calls, half of the time: 50, and 3.09 times the root of 100 * 0.5 * 0.5.
    assert model.peak(100, 0.5) == 66
    assert model.peak(10_000, 0.5) == 5155
    assert model.peak(3, 0.9) == 3
    assert model.peak(100, 0.0) == 0
    assert model.peak(100, 1.0) == 100


@pytest.mark.parametrize("calls", [50, 500, 2000])
def test_a_simulation_agrees(model: Any, calls: int) -> None:
    talk = model.Conversation()
    played = model.simulated_peak(calls, talk, seed=5)
    assert played == pytest.approx(model.peak(calls, talk.speaking), rel=0.05)
    # It isn't the mean.
    assert played > calls * talk.speaking + 4


def test_a_machine_is_full_at_its_load_or_its_memory(model: Any) -> None:
    machine = model.Machine(cores=4, memory=1000, full=0.5, idle=2)
    cost = lambda cpu, memory: model.Cost(cpu, memory, "assumed", "")  # noqa: E731
    # Two cores of four are for calls, and 500 MB, 2 processes of which wait.
    assert model.calls_per_machine(machine, cost(0.25, 10)) == (8, "CPU")
    assert model.calls_per_machine(machine, cost(0.25, 100)) == (3, "memory")


def test_warm_sockets_take_places(model: Any) -> None:
    talk = model.Conversation(turn=10, speech=5, warm_sockets=2)
    assert model.sockets(100, talk) == 200 + 66
    assert model.sockets(100, model.Conversation(turn=10, speech=5, warm_sockets=0)) == 66


def test_a_fleet_by_hand(model: Any) -> None:
    found = model.fleet(
        100,
        model.Cost(0.1, 512, "assumed", ""),
        model.Conversation(turn=10, speech=5, prompt=900, answer=100, answering=1),
        machine=model.Machine(cores=2, memory=1e6, full=0.5, idle=0),
        transcriber=model.Replica("a", 11, ""),
        speaker=model.Replica("b", 21, ""),
        plan=model.Plan("c", 60, 3000, ""),
    )
    assert found.machines == 10  # each has one core of two for calls of 0.1
    assert found.cores == pytest.approx(10)
    assert found.memory == 50
    assert found.transcribers == 10  # 10 of 11 places are filled
    assert found.speakers == 9  # 100 that wait and 66 that speak, at 20
    assert found.idle_speakers == 5  # 66 alone take 4
    assert found.plans == pytest.approx(200)  # 6000 tokens a minute each; requests ask for 10
    assert found.requests == 600
    assert found.in_flight == 20  # 10, and 3.09 times the root of 100 * 0.1 * 0.9
    assert found.addresses == 1
    assert found.gigabits == pytest.approx(100 * 448 / 1e6)


def test_the_scarcest_comes_first(model: Any) -> None:
    plugins = model.Cost(0.01, 100, "assumed", "")
    order = model.limits(model.Cost(0.1, 100, "assumed", ""), plugins)
    assert [calls for _, calls in order] == sorted(calls for _, calls in order)
    found = dict(order)
    assert found["a core, framework and plugins"] == 7
    assert found["a core, plugins alone"] == 70
    assert found["the Pro plan, by requests"] == 20
    assert found[model.WHISPER.name] == 19


def test_a_prediction_from_two_steps(capacity: Any) -> None:
    steps = [{"calls": 10, "cpu": 0.15}, {"calls": 30, "cpu": 0.25}]
    # 0.005 a call and 0.1 beside.
    assert capacity.predicted(steps) == 180


@pytest.mark.parametrize(
    ("change", "kept"),
    [({}, True), ({"behind": 0.06}, False), ({"delay": 0.2}, False), ({"failed": 1}, False)],
)
def test_what_falling_behind_is(capacity: Any, change: dict[str, float], kept: bool) -> None:
    assert capacity.kept_up({"behind": 0.01, "delay": 0.01, "failed": 0, **change}) is kept


def test_the_document_holds_the_kept_figures(capacity: Any) -> None:
    text = capacity.DOCUMENT.read_text()
    measured = json.loads(capacity.KEPT.read_text())
    assert capacity.document(text, measured) == text
    assert capacity.picture(measured) == capacity.PICTURE.read_text()
    assert not measured["machine"]["short"]


@pytest.mark.timeout(120)
def test_the_measurement_runs(tmp_path: Path) -> None:
    written, drawn = tmp_path / "capacity.json", tmp_path / "capacity.svg"
    command = [sys.executable, str(HERE / "capacity.py"), "--measure", "--short"]
    ran = subprocess.run(
        [*command, "--json", str(written), "--svg", str(drawn)],
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ran.returncode == 0, ran.stderr
    measured = json.loads(written.read_text())
    assert measured["alone"]["cpu"] > 0
    assert measured["alone"]["speaking"] > 0
    assert measured["steps"][0]["answers"] > 0
    assert not any(step["failures"] for step in measured["steps"])
    assert "Needed for" in ran.stdout
    assert drawn.read_text().startswith("<svg")
