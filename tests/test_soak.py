"""A minute of the soak: nothing lost, doubled, out of order, short, hung or leaked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "benchmarks" / "soak.py"


@pytest.mark.timeout(240)
def test_a_minute_of_faults(tmp_path: Path) -> None:
    result = tmp_path / "soak.json"
    command = [sys.executable, str(SOAK), "--seconds", "60", "--sessions", "1", "--seed", "5"]
    ran = subprocess.run(
        [*command, "--json", str(result)], capture_output=True, text=True, timeout=230
    )
    told = json.loads(result.read_text())
    assert not any(told["wrong"].values()), ran.stdout
    assert ran.returncode == 0, ran.stderr
    # It would find nothing in a calm sea.
    assert sum(told["struck"].values()) > 60
    assert set(told["protocols"]) >= {"whisper", "qwen3-asr", "orpheus-ws", "qwen3-tts", "llm"}
    assert all(counts["words"] for counts in told["protocols"].values())
