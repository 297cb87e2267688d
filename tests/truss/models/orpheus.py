"""The example's model on an exact engine, which fails on request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.model import Model as Example

from livekit.plugins.baseten_sandbox.engines import tones
from livekit.plugins.baseten_sandbox.engines.pool import EnginePool


class _Synthesizer(tones.ToneSynthesizer):
    def synthesize(self, text: str, *, voice: str | None) -> Iterator[Any]:
        for word in text.split():
            if word == "thunder":
                raise RuntimeError("as asked")
            while word == "patience" and Path("held").exists():
                time.sleep(0.02)
            yield from super().synthesize(word, voice=voice)


class Model(Example):
    def engines(self) -> EnginePool:
        while Path("loading").exists():
            time.sleep(0.02)
        tones.speak(Path("words").read_text())
        return EnginePool(transcriber="tones", synthesizer=_Synthesizer(), detector=None)
