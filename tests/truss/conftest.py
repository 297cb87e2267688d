"""The example trusses on Baseten's real model server: rendered by its CLI, run without Docker."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

from leaks import modules_frozen, nothing_leaks
from livekit.agents import utils
from livekit.plugins.baseten_common import timeout

__all__ = ["modules_frozen", "nothing_leaks"]

ROOT = Path(__file__).parents[2]
TRUSSES = ROOT / "examples" / "trusses"
HERE = Path(__file__).parent
# A later one needs a certifi that is newer than mirrors may have.
TRUSS = "truss==0.18.35"
# The server wants numpy below 2, which has no wheel for a later Python.
PYTHON = ">=3.10,<3.13"
ACCEPTED = "[accepted]"
# Whoever says or reads chords starts with these, in this order, so that all agree on the chords.
WORDS = """
    amber birch cedar delta ember flint grove hazel ivory jade kelp larch maple north ocean pearl
    quartz river stone tulip umber violet willow yarrow zinc cedar. ember. thunder patience
"""


def _run(command: list[str | Path], **environ: str) -> None:
    # From the root, so that uv finds the date that pins every resolution here.
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**_environ(), **environ},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} {command[1]} failed: {done.stderr.strip()[-2000:]}")


def _environ() -> dict[str, str]:
    ours = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    return {name: value for name, value in os.environ.items() if name not in ours}


def _install(uv: str, venv: Path, *what: str | Path) -> None:
    try:
        _run([uv, "venv", "--python", PYTHON, venv])
        _run([uv, "pip", "install", "--python", venv, *what])
    except RuntimeError as error:
        _without(f"the Truss server can't be installed here: {error}")


def _without(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Rendered:
    """The build contexts of the example trusses, and an environment that can run them."""

    def __init__(self, folder: Path, uv: str) -> None:
        self.folder = folder
        cli, venv = folder / "cli", folder / "venv"
        self.python = venv / "bin" / "python"
        _install(uv, cli, TRUSS)
        # The CLI looks for a newer version of itself unless it is told not to.
        settings = folder / "config" / "truss" / "settings.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text("[preferences]\ncheck_for_updates = false\n")
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._render, ("streaming-whisper", "orpheus-websocket")))
        # The index that this machine is set up for takes the place of the one named in the file.
        context = folder / "streaming-whisper"
        requirements = re.sub(r"(?m)^-i .*", "", (context / "requirements.txt").read_text())
        (folder / "requirements.txt").write_text(requirements)
        _run([uv, "build", "--wheel", ROOT / "packages" / "baseten-sandbox", "-o", folder])
        _install(
            uv,
            venv,
            *("-r", folder / "requirements.txt", "-c", context / "constraints.txt"),
            *folder.glob("*.whl"),
        )

    def _render(self, truss: str) -> None:
        cli = self.folder / "cli" / "bin" / "truss"
        command = [cli, "image", "build-context", "--non-interactive"]
        _run(
            [*command, self.folder / truss, TRUSSES / truss],
            HOME=str(self.folder / f"home-{truss}"),
            XDG_CONFIG_HOME=str(self.folder / "config"),
        )


class TrussServer:
    """Baseten's model server with one of the example trusses, in a process of its own.

    Args:
        rendered: The build contexts.
        truss: Folder name of the truss.
        model: A file in place of the truss's own ``model.py``, next to it.
        ping: ``ping_interval_seconds`` and ``ping_timeout_seconds`` of ``runtime.transport``.
        loading: Whether `load` blocks until `loaded` is called.
    """

    def __init__(
        self,
        rendered: Rendered,
        truss: str,
        *,
        model: str | None = None,
        ping: tuple[float, float] | None = None,
        loading: bool = False,
    ) -> None:
        context = rendered.folder / truss
        self._python = rendered.python
        self._packages = context / "packages"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{truss}-", dir=rendered.folder))
        # What the Dockerfile copies.
        shutil.copytree(context / "server", self.folder, dirs_exist_ok=True)
        shutil.copytree(context / "model", self.folder / "model")
        config = (context / "config.yaml").read_text()
        if model:
            shutil.copy(HERE / "models" / model, self.folder / "model" / "substitute.py")
            config = config.replace("filename: model.py", "filename: substitute.py")
        if ping:
            for name, seconds in zip(("interval", "timeout"), ping, strict=True):
                config = config.replace(
                    f"ping_{name}_seconds: null", f"ping_{name}_seconds: {seconds}"
                )
        (self.folder / "config.yaml").write_text(config)
        (self.folder / "words").write_text(WORDS)
        if loading:
            (self.folder / "loading").touch()
        self.port = 0
        self._start()
        if not loading:
            self.wait_ready()

    def _start(self) -> None:
        with (
            socket.create_server(("127.0.0.1", self.port)) as listener,
            (self.folder / "log").open("a") as log,
        ):
            self.port = listener.getsockname()[1]
            self._process = subprocess.Popen(
                [self._python, HERE / "loopback.py", str(listener.fileno())],
                cwd=self.folder,
                env={**_environ(), "HOME": str(self.folder), "PYTHONPATH": str(self._packages)},
                pass_fds=[listener.fileno()],
                stdout=log,
                stderr=log,
            )

    @property
    def endpoint(self) -> str:
        """Where the gateway would send what comes in at ``…/environments/production/websocket``."""
        return f"ws://127.0.0.1:{self.port}/v1/websocket"

    @property
    def log(self) -> str:
        """What the server has written."""
        return (self.folder / "log").read_text()

    @property
    def sessions(self) -> int:
        """How many WebSockets it has accepted."""
        return self.log.count(ACCEPTED)

    def get(self, path: str) -> int:
        """The status of a GET request; 0 when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def wait_ready(self) -> None:
        """Ask as Baseten's probe does, until the model is loaded."""
        deadline = time.monotonic() + 50
        while (status := self.get("/v1/models/model")) != 200:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the Truss server answers {status}:\n{self.log[-4000:]}")
            time.sleep(0.05)

    async def wrote(self, words: str, count: int = 1) -> None:
        """Wait until the words stand in its log so many times."""
        async with timeout(20):
            while self.log.count(words) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def accepted(self, count: int) -> None:
        """Wait until it has accepted so many WebSockets."""
        await self.wrote(ACCEPTED, count)

    def loaded(self) -> None:
        """Let `load` go on."""
        (self.folder / "loading").unlink()

    def terminate(self) -> None:
        """Ask the server to end, as Baseten does when it moves or scales down a replica."""
        self._process.send_signal(signal.SIGTERM)

    def restart(self) -> None:
        """Start another one at the same address once this one is gone. It blocks."""
        self._process.wait(timeout=30)
        self._start()
        self.wait_ready()

    def stop(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait(timeout=10)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BASETEN_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
async def http_context(nothing_leaks: None) -> AsyncIterator[None]:
    async with utils.http_context.open():
        yield


@pytest.fixture(scope="session")
def rendered() -> Iterator[Rendered]:
    if sys.platform == "win32":
        pytest.skip("Truss's model server needs uvloop, which Windows doesn't have")
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        _without("uv, which installs the Truss server, isn't on the PATH")
    with tempfile.TemporaryDirectory(prefix="truss-", ignore_cleanup_errors=True) as folder:
        yield Rendered(Path(folder), uv)


@pytest.fixture
def start(rendered: Rendered) -> Iterator[Callable[..., TrussServer]]:
    """Start Truss servers that end with the test."""
    with contextlib.ExitStack() as stack:

        def start(truss: str, **options: object) -> TrussServer:
            server = TrussServer(rendered, truss, **options)  # type: ignore[arg-type]
            stack.callback(server.stop)
            return server

        yield start


def _shared(rendered: Rendered, truss: str, **options: object) -> Iterator[TrussServer]:
    server = TrussServer(rendered, truss, **options)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def whisper(rendered: Rendered) -> Iterator[TrussServer]:
    """Streaming Whisper on exact engines."""
    yield from _shared(rendered, "streaming-whisper", model="whisper.py")


@pytest.fixture(scope="session")
def orpheus(rendered: Rendered) -> Iterator[TrussServer]:
    """Orpheus on an exact engine."""
    yield from _shared(rendered, "orpheus-websocket", model="orpheus.py")


@pytest.fixture
def vocabulary() -> list[str]:
    """Words to say, without those that make a model fail."""
    return WORDS.split()[:-4]


@pytest.fixture(scope="session")
def tones() -> ModuleType:
    """The chords, in a copy of the module that knows `WORDS` and nothing from other tests."""
    spec = importlib.util.find_spec("livekit.plugins.baseten_sandbox.engines.tones")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.speak(WORDS)
    return module
