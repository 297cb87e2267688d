"""Every benchmark still runs and says what it found; how fast anything is isn't asserted here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from surroundings import surroundings

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"

# What each measures in a short run, and the clients beside ours.
EXPECTED: dict[str, tuple[set[str], set[str]]] = {
    "llm": ({"first", "cpu"}, {"bare"}),
    "tts": ({"first", "later", "slow", "stop"}, {"bare"}),
    "tts_cpu": ({"cpu"}, {"bare"}),
    "stt_final": ({"wait"}, {"bare"}),
    "stt_latency": ({"p50", "p99"}, {"bare"}),
    "stt_recovery": ({"gap", "lost"}, {"bare"}),
    "stt_memory": ({"resident", "traced"}, {"bare"}),
    "stt_cpu": ({"cpu"}, {"bare", "room"}),
}


def run(program: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / program, "--short", "--no-peer", *map(str, arguments)],
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_picture(path: Path, found: dict[str, Any]) -> None:
    picture = ElementTree.parse(path).getroot()
    assert picture.tag == f"{SVG}svg"
    texts = [text.text or "" for text in picture.iter(f"{SVG}text")]
    assert found["title"] in texts
    for scene in found["scenes"]:
        assert scene in texts
    bars = [bar for bar in picture.iter(f"{SVG}rect") if bar.get("x")]
    assert bars
    assert all(float(bar.attrib["width"]) > 0 for bar in bars)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", EXPECTED)
def test_a_benchmark_runs(name: str, tmp_path: Path) -> None:
    figures, picture = tmp_path / "figures.json", tmp_path / "picture.svg"
    table = run(f"{name}.py", "--json", figures, "--svg", picture)
    found = json.loads(figures.read_text())
    measures, clients = EXPECTED[name]
    assert found["benchmark"] == name
    assert found["scenes"]
    for scene, told in found["scenes"].items():
        assert set(told) >= {"ours", *clients}, scene
        assert scene in table
        for measure, figure in told["ours"].items():
            assert figure["low"] <= figure["median"] <= figure["high"], measure
            assert figure["count"] > 0
    assert {m for told in found["scenes"].values() for m in told["ours"]} >= measures
    assert all(target["scene"] in found["scenes"] for target in found["targets"])
    assert found["targets"]
    assert "a short run" in table
    check_picture(picture, found)


@pytest.mark.timeout(120)
def test_all_of_them_at_once(tmp_path: Path) -> None:
    told = run("all.py", "--out", tmp_path, "--only", "imports", "sandbox")
    for name in ("imports", "sandbox"):
        found = json.loads((tmp_path / f"{name}.json").read_text())
        check_picture(tmp_path / f"{name}.svg", found)
        assert found["title"] in (tmp_path / f"{name}.txt").read_text()
    imported = json.loads((tmp_path / "imports.json").read_text())["scenes"]["baseten_stt"]["ours"]
    assert imported["openai"]["high"] == 0
    assert (tmp_path / "summary.md").read_text() in told


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """all.py with benchmarks of which one fails and one hangs with a process that it started."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("everything", BENCHMARKS / "all.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    programs = {
        "fails": "sys.exit('this is why')",
        "hangs": "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)']).wait()",
        "works": "open(sys.argv[sys.argv.index('--json') + 1], 'w').write(sys.argv[0])",
    }
    for name, program in programs.items():
        (tmp_path / f"{name}.py").write_text(f"import subprocess, sys\n{program}\n")
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module, "BENCHMARKS", tuple(programs))
    monkeypatch.setattr(module, "summary", lambda folder: "what was found\n")
    return module


def test_one_that_fails_or_hangs_is_told_and_the_others_run(
    everything: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out, results = tmp_path / "out", tmp_path / "RESULTS.md"
    out.mkdir()
    (out / "fails.json").write_text("of an earlier run")
    results.write_text(kept := "<!-- figures: begin -->\nkept\n<!-- figures: end -->\n")
    words = ["all.py", "--out", str(out), "--results", str(results), "--no-peer", "--limit", "12"]
    monkeypatch.setattr(sys, "argv", words)
    # It wouldn't return while what the one that hangs has started still had its output open.
    assert everything.main() == 1
    told, why = capfd.readouterr()
    assert "failed: this is why" in told
    assert "ended, since it took more than 12 s" in told
    assert why == "failed: fails, hangs\n"
    assert not (out / "fails.json").exists()
    assert "this is why" in (out / "fails.txt").read_text()
    assert (out / "works.json").read_text().endswith("works.py")
    assert results.read_text() == kept
    monkeypatch.setattr(sys, "argv", [*words, "--only", "works"])
    assert everything.main() == 0
    assert "what was found" in results.read_text()


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import report  # type: ignore[import-not-found]

    return report


def test_targets_are_met_and_missed(report: ModuleType) -> None:
    found = report.Report("x", "X", {"cpu": report.Measure("CPU", "ms")})
    # Round by round ours is twice bare, though the medians say otherwise.
    found.add("calm", "bare", cpu=[1.0, 10.0, 4.0])
    found.add("calm", "ours", cpu=[2.0, 20.0, 8.1])
    found.aim_below("calm", "cpu", "1.5 times bare", times=1.5)
    found.aim_below("calm", "cpu", "2.5 times bare", times=2.5)
    found.aim_below("calm", "cpu", "5 ms more", plus=5.0)
    found.aim_below("calm", "cpu", "the peer", of="peer")
    assert [(target.text, target.met) for target in found.targets] == [
        ("1.5 times bare", False),
        ("2.5 times bare", True),
        ("5 ms more", True),
    ]
    assert found.ratio("calm", "cpu") == pytest.approx(2.0)
    assert "MISSED calm: CPU" in found.table()
    lines = ElementTree.fromstring(found.picture()).findall(f"{SVG}line")
    assert len(lines) == 1


def test_words_in_a_picture_are_words(report: ModuleType) -> None:
    found = report.Report("x", "a < b & c", {"cpu": report.Measure("<cpu>", "µs")})
    found.add("<scene>", "ours", cpu=0.0)
    texts = [text.text for text in ElementTree.fromstring(found.picture()).iter(f"{SVG}text")]
    assert {"a < b & c", "<cpu>, µs", "<scene>", "0.00"} <= set(texts)
