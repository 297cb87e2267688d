"""The fixture that the other tests rely on does fail a test that leaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from surroundings import surroundings

TESTS = Path(__file__).parents[1]
CONFTEST = "from leaks import modules_frozen, nothing_leaks\n__all__ = ['modules_frozen']\n"
LEAKING = """
import asyncio, socket
kept = []

async def nothing():
    pass

async def test_tidy():
    await asyncio.create_task(nothing())

async def test_task():
    kept.append(asyncio.create_task(asyncio.sleep(3600)))

async def test_socket():
    kept.append(socket.socket())

async def test_exception():
    async def fail():
        raise OSError("nobody asks")
    asyncio.create_task(fail())
    await asyncio.sleep(0)
"""


def test_what_leaks_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_leaking.py").write_text(LEAKING)
    options = ["-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "-rfE", "-q"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        env=surroundings(PYTHONPATH=str(TESTS), COLUMNS="200"),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert ran.returncode == 1, ran.stdout
    failed = [line for line in ran.stdout.splitlines() if line.startswith("ERROR ")]
    assert len(failed) == 3, ran.stdout
    for name, why in [
        ("task", "tasks are left"),
        ("socket", "sockets are left"),
        ("exception", "exceptions that nobody asked for"),
    ]:
        assert [line for line in failed if f"test_{name} " in line and why in line], ran.stdout
