"""Where clients are measured side by side: servers and clients in processes that take turns.

The clients are ``ours``, the ``peer`` (the published livekit-plugins-baseten, in an environment of
its own, which is made when it isn't there) and ``bare``: the least that aiohttp or the openai client
can do, which is the limit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from process import HERE, Process
from report import Report

__all__ = ["PEER", "Arena", "parser", "peer_python"]

PEER = "livekit-plugins-baseten==1.8.9"
_ROOT = HERE.parent


def parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments that all benchmarks have.

    Args:
        description: The benchmark's docstring.
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", metavar="FILE", help="write the figures here too")
    made.add_argument("--svg", metavar="FILE", help="draw them here")
    made.add_argument("--short", action="store_true", help="seconds, to see that it works")
    made.add_argument("--peer", metavar="PYTHON", help="an interpreter that has the published one")
    made.add_argument("--no-peer", action="store_true", help="leave the published plugin out")
    return made


def peer_python() -> str:
    """An interpreter that has the published plugin; installed in the user's cache the first time.

    Raises:
        SystemExit: it can't be installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"{PEER.replace('==', '-')}-python{sys.version_info[0]}.{sys.version_info[1]}"
    folder = cache / "livekit-plugins-baseten-benchmarks" / name
    python, complete = folder / "bin" / "python", folder / "complete"
    if complete.exists():
        return str(python)
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        raise SystemExit("uv, which installs the published plugin, isn't there: --no-peer")
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {PEER} into {folder}", file=sys.stderr, flush=True)
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(python), PEER],
    ):
        # From the root, so that uv finds the date that pins every resolution here.
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise SystemExit(f"uv failed: {done.stderr.strip()[-1000:]}\n--no-peer leaves it out")
    complete.touch()
    return str(python)


class Arena:
    """The processes of one benchmark. Use it as a context manager.

    Args:
        options: Of :func:`parser`.

    Attributes:
        pythons: The interpreter of each kind of client.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._processes: list[Process] = []
        self.pythons = {"bare": sys.executable, "ours": sys.executable}
        if not options.no_peer:
            self.pythons["peer"] = options.peer or peer_python()

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *exc: object) -> None:
        # Clients first: servers then have nobody to wait for.
        for process in reversed(self._processes):
            process.close()

    def server(self) -> Process:
        """A process that runs what ``servers.py`` can."""
        return self._started(Process("servers.py"))

    def link(self) -> Process:
        """A process that runs what ``link.py`` can."""
        return self._started(Process("link.py"))

    def _started(self, process: Process) -> Process:
        self._processes.append(process)
        return process

    def client(self, program: str, kind: str, **environ: str) -> Process:
        """A process of one kind of client.

        Args:
            program: Its file.
            kind: ``"bare"``, ``"ours"`` or ``"peer"``, or what else the program knows.
            environ: Environment variables.
        """
        python = self.pythons.get(kind, sys.executable)
        return self._started(Process(program, kind, python=python, environ=environ))

    def clients(
        self, program: str, *, without: tuple[str, ...] = (), **environ: str
    ) -> dict[str, Process]:
        """A process of each kind of client.

        Args:
            program: Their file.
            without: Kinds to leave out.
            environ: Environment variables.
        """
        return {
            kind: self.client(program, kind, **environ)
            for kind in self.pythons
            if kind not in without
        }

    def turns(self, clients: dict[str, Any], rounds: int) -> Iterator[tuple[int, str, Any]]:
        """Each client once a round; another one begins each time.

        Args:
            clients: By kind.
            rounds: How many; one in short runs.
        """
        names = list(clients)
        for number in range(1 if self._options.short else rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                yield number, name, clients[name]

    def deliver(self, report: Report) -> None:
        """Show a report in the ways that were asked for."""
        if self._options.short:
            report.notes.append("a short run, which shows that it works and measures nothing")
        report.deliver(json_file=self._options.json, svg_file=self._options.svg)
