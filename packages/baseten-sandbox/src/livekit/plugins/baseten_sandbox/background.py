"""A sandbox on a thread of its own, for programs and tests whose event loops come and go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .faults import Fault
from .sandbox import Sandbox

__all__ = ["BackgroundSandbox"]

_T = TypeVar("_T")


class BackgroundSandbox(Sandbox):
    """A `Sandbox` that serves from a thread; a plain context manager.

    It takes the arguments of `Sandbox`. Its coroutines may be awaited on any event loop, and what
    tells of the past may be read from any thread::

        with BackgroundSandbox(transcriber="tones", synthesizer="tones") as sandbox:
            run_my_program(env=sandbox.environ())
    """

    def __enter__(self) -> BackgroundSandbox:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="baseten-sandbox", daemon=True
        )
        self._thread.start()
        try:
            self._run(super().start())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._run(super().stop())
        finally:
            self._end()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _there(self, work: Coroutine[Any, Any, _T]) -> _T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def load(self) -> None:
        """See `Sandbox.load`."""
        await self._there(super().load())

    async def wait_for(self, condition: Callable[[], _T], *, timeout: float = 10.0) -> _T:
        """See `Sandbox.wait_for`; the condition is called on the sandbox's thread."""
        return await self._there(super().wait_for(condition, timeout=timeout))

    async def strike(self, fault: Fault, *, deployment: str | None = None) -> int:
        """See `Sandbox.strike`."""
        return await self._there(super().strike(fault, deployment=deployment))

    def load_now(self) -> None:
        """Load the models and wait for it."""
        self._run(super().load())
