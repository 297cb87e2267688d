from __future__ import annotations

import logging
import threading

from livekit.agents import Plugin
from livekit.plugins.baseten_common import register_plugin


def test_registering_works_on_any_thread() -> None:
    logger = logging.getLogger("test")
    refusing = Plugin.register_plugin
    before = list(Plugin.registered_plugins)
    try:
        register_plugin("pkg.main", "1.2.3", logger)
        thread = threading.Thread(target=register_plugin, args=("pkg.side", "1.2.3", logger))
        thread.start()
        thread.join()
        added = Plugin.registered_plugins[len(before) :]
        assert [(p.package, p.version, p.logger) for p in added] == [
            ("pkg.main", "1.2.3", logger),
            ("pkg.side", "1.2.3", logger),
        ]
        assert Plugin.register_plugin.__func__ is refusing.__func__
    finally:
        Plugin.registered_plugins[:] = before
