from __future__ import annotations

import logging
import threading

from livekit.agents import Plugin

__all__ = ["register_plugin"]


class _BasetenPlugin(Plugin):
    pass


def register_plugin(package: str, version: str, logger: logging.Logger) -> None:
    """Make a package known to LiveKit's worker, which logs its version and sets its log level.

    LiveKit refuses registration off the main thread, where an import can well happen (a web
    framework's worker thread); there the plugin joins the list without the announcement.
    """
    plugin = _BasetenPlugin(package, version, package, logger)
    if threading.current_thread() is threading.main_thread():
        Plugin.register_plugin(plugin)
    else:
        Plugin.registered_plugins.append(plugin)
