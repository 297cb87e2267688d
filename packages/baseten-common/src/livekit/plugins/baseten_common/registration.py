from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from livekit.agents import Plugin

__all__ = ["register_plugin"]

_lock = threading.RLock()


class _BasetenPlugin(Plugin):
    pass


def register_plugin(package: str, version: str, logger: logging.Logger) -> None:
    """Make a package known to LiveKit's worker, which logs its version and sets its log level."""
    with _on_any_thread():
        Plugin.register_plugin(_BasetenPlugin(package, version, package, logger))


@contextlib.contextmanager
def _on_any_thread() -> Iterator[None]:
    """Let plugins register inside, whichever thread this is.

    LiveKit refuses registration off the main thread, where an import can well happen (a web
    framework's worker thread). There a plugin joins the list without the announcement.
    """
    if threading.current_thread() is threading.main_thread():
        yield
        return
    with _lock:
        refusing = Plugin.__dict__["register_plugin"]
        Plugin.register_plugin = Plugin.registered_plugins.append  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            Plugin.register_plugin = refusing  # type: ignore[method-assign]
