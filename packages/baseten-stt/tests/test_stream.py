from __future__ import annotations

import numpy as np
import pytest

from livekit.agents.stt import SpeechEventType
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak

from .rig import FAST, PAUSE, check_balanced, collect, finals, kinds, push


async def test_two_turns_with_times(rig):
    stt = rig.stt()
    stream = stt.stream(conn_options=FAST)
    one, words_one = speak("turn the lights on in the kitchen")
    two, words_two = speak("and off again")
    push(stream, np.concatenate([silence(0.5), one, PAUSE, two, PAUSE]))
    stream.end_input()
    events = await collect(stream)
    check_balanced(events)
    assert finals(events) == ["turn the lights on in the kitchen", "and off again"]
    heard = [
        w
        for e in events
        if e.type == SpeechEventType.FINAL_TRANSCRIPT
        for w in e.alternatives[0].words
    ]
    shift = 0.5
    truth = [(w.text, w.start + shift) for w in words_one]
    shift += (len(one) + len(PAUSE)) / 16000
    truth += [(w.text, w.start + shift) for w in words_two]
    assert [str(w) for w in heard] == [text for text, _ in truth]
    assert [w.start_time for w in heard] == pytest.approx([at for _, at in truth], abs=0.02)
    assert "interim_transcript" in kinds(events)
    usage = sum(e.recognition_usage.audio_duration for e in events if e.recognition_usage)
    assert usage == pytest.approx((8000 + len(one) + len(two) + 2 * len(PAUSE)) / 16000)
