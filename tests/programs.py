"""The examples, as processes with a clean environment."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from surroundings import surroundings

__all__ = ["EXAMPLES", "Run", "program"]

EXAMPLES = Path(__file__).parent.parent / "examples"


@dataclass
class Run:
    """What came of a program: its exit status, standard output and standard error."""

    status: int | None
    printed: str
    complaint: str


async def program(
    name: str,
    *arguments: str | Path,
    environment: Mapping[str, str] | None = None,
    piped: bytes | None = None,
    interrupt_at: str | None = None,
) -> Run:
    """Run an example to its end.

    Args:
        name: Its file.
        *arguments: Its command line.
        environment: The variables of Baseten; there are no others of it.
        piped: What it reads from its standard input.
        interrupt_at: Press Ctrl-C as soon as it has printed this.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLES / name,
        *map(str, arguments),
        env=surroundings(PYTHONUNBUFFERED="1", **(environment or {})),
        stdin=asyncio.subprocess.DEVNULL if piped is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed = b""
    try:
        assert process.stdout is not None
        while interrupt_at is not None and interrupt_at.encode() not in printed:
            line = await process.stdout.readline()
            assert line, f"it ended before it printed {interrupt_at!r}"
            printed += line
        if interrupt_at is not None:
            process.send_signal(signal.SIGINT)
        rest, complaint = await asyncio.wait_for(process.communicate(piped), 100)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Run(process.returncode, (printed + rest).decode(), complaint.decode())
