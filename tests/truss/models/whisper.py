"""The example's model on exact engines, which fail on request."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from model.model import Model as Example

from livekit.plugins.baseten_sandbox.engines import Transcript, tones
from livekit.plugins.baseten_sandbox.engines.pool import EnginePool


class _Detector(tones.ToneDetector):
    def probability(self, pcm: Any) -> float:
        probability = super().probability(pcm)
        failures = Path("detector-failures")
        if probability > 0.5 and failures.exists():
            left = int(failures.read_text()) - 1
            failures.write_text(str(left)) if left else failures.unlink()
            raise RuntimeError("as asked")
        return probability


class _Transcriber(tones.ToneTranscriber):
    def transcribe(self, pcm: Any, *, language: str | None, word_times: bool) -> Transcript:
        transcript = super().transcribe(pcm, language=language, word_times=word_times)
        if "thunder" in transcript.text.split():
            raise RuntimeError("as asked")
        return transcript


class Model(Example):
    def engines(self) -> EnginePool:
        while Path("loading").exists():
            time.sleep(0.02)
        # A process reads back the words that it has said itself.
        tones.speak(Path("words").read_text())
        return EnginePool(transcriber=_Transcriber(), synthesizer="tones", detector=_Detector)
