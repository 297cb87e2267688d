from __future__ import annotations

import subprocess
import sys

import pytest

from livekit.agents import Plugin
from livekit.plugins import baseten, baseten_llm, baseten_stt, baseten_tts

# The public names of livekit-plugins-baseten 1.8.9, which this package replaces.
OFFICIAL = (
    "LLM",
    "STT",
    "SpeechStream",
    "logger",
    "TTS",
    "SynthesizeStream",
    "register_voice",
    "list_voices",
    "LLMModels",
    "STTModels",
    "TTSModels",
    "__version__",
)


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_name_of_the_official_plugin_is_here(name: str) -> None:
    assert name in baseten.__all__
    assert getattr(baseten, name) is not None


def test_the_names_are_the_components_own() -> None:
    for component in (baseten_stt, baseten_tts, baseten_llm):
        for name in component.__all__:
            if name not in ("__version__", "logger"):
                assert getattr(baseten, name) is getattr(component, name)


def test_every_package_is_registered_with_the_worker() -> None:
    registered = {plugin.package: plugin for plugin in Plugin.registered_plugins}
    for module in (baseten, baseten_stt, baseten_tts, baseten_llm):
        plugin = registered[module.__name__]
        assert plugin.version == module.__version__
        assert plugin.logger is not None


def test_importing_on_another_thread_works() -> None:
    code = (
        "import threading, importlib, sys\n"
        "failed = []\n"
        "def load():\n"
        "    try: importlib.import_module('livekit.plugins.baseten')\n"
        "    except BaseException as e: failed.append(e)\n"
        "t = threading.Thread(target=load); t.start(); t.join()\n"
        "sys.exit(repr(failed) if failed else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_starts_nothing() -> None:
    code = (
        "import threading, importlib\n"
        "import livekit.agents\n"
        "before = threading.active_count()\n"
        "importlib.import_module('livekit.plugins.baseten')\n"
        "assert threading.active_count() == before\n"
        "import sys\n"
        "assert not any(name.startswith('livekit.plugins.baseten.cli') for name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
