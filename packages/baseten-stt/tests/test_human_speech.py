from __future__ import annotations

import wave
from pathlib import Path

import aiohttp
import jiwer
import numpy as np
import pytest

from livekit.agents import APIConnectOptions
from livekit.agents.stt import SpeechEventType
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import silence

from .rig import Rig, check_balanced, collect, finals, push, until

_SPEECH = Path(__file__).parents[3] / "tests" / "speech"

pytestmark = [
    pytest.mark.models,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not _SPEECH.exists(), reason="the recordings lie in the repository alone"),
]


def _clips() -> list[tuple[np.ndarray, str]]:
    clips = []
    for row in (_SPEECH / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if cells[0].endswith(".wav"):
            with wave.open(str(_SPEECH / cells[0])) as file:
                pcm = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
            clips.append((pcm, cells[1]))
    return clips


async def _heard(rig: Rig, pcm: np.ndarray, faults: list[Fault]) -> str:
    for fault in faults:
        rig.sandbox.faults.add(fault)
    stt = rig.stt(replay_speed=8.0, dead_link_timeout=2.0, partial_transcript_interval_s=3.0)
    options = APIConnectOptions(max_retry=5, retry_interval=0.05, timeout=30.0)
    stream = stt.stream(conn_options=options)
    push(stream, pcm)
    stream.end_input()
    events = await collect(stream)
    check_balanced(events)
    assert rig.sandbox.faults.pending == 0
    return " ".join(finals(events))


async def test_drops_cost_human_speech_nothing(http_session: aiohttp.ClientSession):
    clips = _clips() * 2
    pcm = np.concatenate([part for clip, _ in clips for part in (clip, silence(0.9))])
    truth = " ".join(text for _, text in clips)
    normal = jiwer.Compose(
        [
            jiwer.ToLowerCase(),
            jiwer.SubstituteWords({"mr": "mister"}),
            jiwer.SubstituteRegexes({"-": " "}),
            jiwer.RemovePunctuation(),
            jiwer.RemoveMultipleSpaces(),
            jiwer.Strip(),
        ]
    )
    dead = {"on": "receive", "kind": "binary"}
    drops = [
        Fault(do="reset", after=260, **dead),
        Fault(do="close", code=1011, after=330, **dead),
        Fault(do="close", code=1001, after=410, **dead),
        Fault(do="silence", after=290, **dead),
        Fault(do="eof", after=370, **dead),
    ]
    async with Sandbox(synthesizer="tones") as sandbox:
        rig = Rig(sandbox, http_session)
        calm = jiwer.wer(truth, normal(await _heard(rig, pcm, [])))
        stormy = jiwer.wer(truth, normal(await _heard(rig, pcm, drops)))
        await rig.made[0].aclose()
    print(f"word error rate {calm:.3f}, with {len(drops)} drops {stormy:.3f}")
    assert calm < 0.1
    assert abs(stormy - calm) <= 0.01


async def test_a_flush_ends_human_speech(http_session: aiohttp.ClientSession):
    """The burst of silence is enough for a real VAD too, whatever the speech ended on."""
    async with Sandbox(synthesizer="tones") as sandbox:
        rig = Rig(sandbox, http_session)
        stream = rig.stt(enable_partial_transcripts=False).stream()
        for pcm, _ in _clips():
            loud = np.flatnonzero(np.abs(pcm) > 800)
            push(stream, pcm[: loud[-1]])
            stream.flush()
            events = await until(stream, SpeechEventType.END_OF_SPEECH)
            assert len(finals(events)) == 1
        await stream.aclose()
        await rig.made[0].aclose()
