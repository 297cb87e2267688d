"""A program in a process of its own that takes jobs as lines of JSON: both ends of the pipe.

Interpreters are started once and then take turns, so that starting one isn't measured. This module
also runs in the environment of the peer, and needs nothing but Python.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

__all__ = ["HERE", "Process", "serve", "surroundings"]

HERE = Path(__file__).resolve().parent
_LED_ASTRAY = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "SSL_CERT_FILE", "SSL_CERT_DIR")


def surroundings(**variables: str) -> dict[str, str]:
    """This process's environment without what would lead elsewhere, and with these variables."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in _LED_ASTRAY
        and not name.startswith(("BASETEN_", "LIVEKIT_"))
        and not name.upper().endswith("_PROXY")
    }
    # onnxruntime would tell its makers of its use.
    return {**inherited, "ORT_DISABLE_TELEMETRY": "1", **variables}


class Process:
    """A program of this folder that calls :func:`serve`, from the outside.

    Args:
        program: Its file name.
        arguments: What it is called with.
        python: The interpreter that runs it.
        environ: Environment variables to set.
        limit: Seconds that a job may take before the program is killed.
    """

    def __init__(
        self,
        program: str,
        *arguments: str,
        python: str = sys.executable,
        environ: dict[str, str] | None = None,
        limit: float = 300.0,
    ) -> None:
        self._name = " ".join((program, *arguments))
        self._limit = limit
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(HERE / program), *arguments],
            env=surroundings(**environ or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def send(self, do: str, **job: Any) -> None:
        """Give it a job and don't wait."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **job}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed("ended early") from None

    def result(self) -> Any:
        """Wait for what came of the job.

        Raises:
            RuntimeError: it failed, or took too long.
        """
        assert self._process.stdout is not None
        alarm = threading.Timer(self._limit, self._process.kill)
        alarm.start()
        try:
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
        if not line:
            raise self._failed("ended or took too long")
        answer = json.loads(line)
        if "error" in answer:
            raise self._failed(answer["error"])
        return answer["result"]

    def do(self, do: str, **job: Any) -> Any:
        """Give it a job and wait for what comes of it."""
        self.send(do, **job)
        return self.result()

    def _failed(self, how: str) -> RuntimeError:
        self._log.seek(0)
        return RuntimeError(f"{self._name}: {how}\n{self._log.read()[-3000:]}")

    def close(self) -> None:
        """End it: politely, then by force."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


def serve(
    jobs: dict[str, Callable[..., Awaitable[Any]]],
    *,
    loop: asyncio.AbstractEventLoop | None = None,
) -> None:
    """Do jobs, one after the other, until whoever gives them is gone.

    Args:
        jobs: Coroutine functions by name. What they return must go into JSON.
        loop: Where they run; a usual one when None.
    """
    # Nothing that a library prints may come between the answers.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    async def work() -> None:
        while line := await asyncio.to_thread(sys.stdin.readline):
            job = json.loads(line)
            try:
                answer = {"result": await jobs[job.pop("do")](**job)}
            except Exception:
                answer = {"error": traceback.format_exc()}
            print(json.dumps(answer), file=out, flush=True)

    if loop is None:
        asyncio.run(work())
    else:
        loop.run_until_complete(work())
