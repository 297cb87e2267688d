"""The agent that the page talks to: the built-in one, or one from the user's file."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from livekit.agents import Agent, AgentSession

__all__ = ["INSTALL_HINT", "AgentFileError", "build", "preload", "variables"]

INSTALL_HINT = (
    "To talk to an agent, the sandbox needs LiveKit Agents and the Baseten plugin: "
    "pip install 'livekit-plugins-baseten-sandbox[talk]'"
)

_GREETING = "Hello! I live in your sandbox. What would you like to talk about?"
_INSTRUCTIONS = "You are a friendly voice assistant. Answer in one or two short spoken sentences."
_MODULE = "_baseten_sandbox_agent_file"
_preloading = threading.Lock()


class AgentFileError(Exception):
    """The user's agent file can't be used; the text says why."""


def preload() -> None:
    """Import what takes seconds; meant for a worker thread, so that the sandbox's sockets go on.

    The plugins themselves aren't: LiveKit wants them registered on the main thread.
    """
    with _preloading, contextlib.suppress(ImportError):
        import openai  # noqa: F401

        import livekit.agents  # noqa: F401


@contextlib.contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while, so that plugins built meanwhile use the sandbox."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def build(path: Path | None) -> tuple[Agent, AgentSession]:
    """Make an agent and a session, with the sandbox's environment variables set.

    A user's file is run anew each time, so an edit holds from the next conversation on. It has

    - a function ``create_agent()`` that returns an ``Agent``, or just one subclass of ``Agent``
      that can be made without arguments;
    - if it wants models or turn handling of its own, a function ``create_session()`` that returns
      an ``AgentSession``. ``baseten.STT()``, ``baseten.LLM()`` and ``baseten.TTS()`` without
      arguments use the sandbox there.

    Args:
        path: The user's file; ``None`` for the built-in agent.

    Raises:
        AgentFileError: The file can't be used.
        ImportError: livekit-agents or the plugin isn't installed.
    """
    from livekit.agents import Agent, AgentSession

    if path is None:
        return _built_in(), _session()
    module = _run(path)
    agent = _agent(module, path)
    if not isinstance(agent, Agent):
        raise AgentFileError(f"create_agent() in {path.name} must return an Agent")
    create_session = getattr(module, "create_session", None)
    session = _session() if create_session is None else create_session()
    if not isinstance(session, AgentSession):
        raise AgentFileError(f"create_session() in {path.name} must return an AgentSession")
    return agent, session


def _session() -> AgentSession:
    from livekit.agents import AgentSession
    from livekit.plugins import baseten

    return AgentSession(
        stt=baseten.STT(),
        llm=baseten.LLM(),
        tts=baseten.TTS(),
        turn_handling={
            # The server's voice detection ends a turn, as it does for an agent on Baseten; the
            # adaptive mode would ask LiveKit's cloud.
            "turn_detection": "stt",
            "interruption": {"mode": "vad"},
        },
        # The browser cancels the echo by itself, soon after the first sound.
        aec_warmup_duration=1.0,
        # Who hangs up waits for no last transcript.
        session_close_transcript_timeout=0.2,
    )


def _built_in() -> Agent:
    from livekit.agents import Agent

    class SandboxAgent(Agent):
        def __init__(self) -> None:
            super().__init__(instructions=_INSTRUCTIONS)

        async def on_enter(self) -> None:
            self.session.say(_GREETING)

    return SandboxAgent()


def _run(path: Path) -> ModuleType:
    if not path.is_file():
        raise AgentFileError(f"There is no agent file {path}")
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise AgentFileError(f"{path} isn't a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    # Found under its name while it runs, as dataclasses and pydantic look it up there.
    sys.modules[_MODULE] = module
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
    return module


def _agent(module: ModuleType, path: Path) -> object:
    from livekit.agents import Agent

    create_agent = getattr(module, "create_agent", None)
    if create_agent is not None:
        return create_agent()
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Agent) and value.__module__ == _MODULE
    ]
    if len(classes) != 1:
        found = "no subclass of Agent" if not classes else "several subclasses of Agent"
        raise AgentFileError(
            f"{path.name} has {found}: write one, or a function create_agent() that returns one"
        )
    make = cast(Callable[[], object], classes[0])
    return make()
