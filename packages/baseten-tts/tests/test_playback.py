from __future__ import annotations

import asyncio

import pytest

from livekit import rtc
from livekit.agents import tts as agents_tts
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_tts.playback import Playback
from livekit.plugins.baseten_tts.protocols import Audio

from .conftest import Make, timed
from .test_wav import wav

RATE = 24000


class Emitter:
    """Notes what it is given, as LiveKit's would hand it on."""

    def __init__(self) -> None:
        self.pushed: asyncio.Queue[bytes] = asyncio.Queue()

    def initialize(self, **kwargs: object) -> None:
        pass

    def push_frame(self, frame: rtc.AudioFrame) -> None:
        assert (frame.sample_rate, frame.num_channels) == (RATE, 1)
        self.pushed.put_nowait(bytes(frame.data))

    def flush(self) -> None:
        pass


def sound(seconds: float, value: int) -> Audio:
    return Audio(bytes([value]) * (2 * round(RATE * seconds)), RATE)


async def test_pieces_come_together_while_there_is_enough_and_never_wait_for_more_than_that() -> (
    None
):
    emitter = Emitter()
    playback = Playback(emitter, request_id="r", sample_rate=RATE, stream=False)  # type: ignore[arg-type]
    playback.play(sound(1.0, 1))
    assert emitter.pushed.get_nowait() == sound(1.0, 1).data  # the first goes out at once
    for value in (2, 3):
        playback.play(sound(0.03, value))
    # No more comes, and what is held is handed on before the listener has heard the rest.
    together = await asyncio.wait_for(emitter.pushed.get(), 20)
    assert together == sound(0.03, 2).data + sound(0.03, 3).data
    playback.play(sound(0.5, 4))
    playback.play(sound(0.03, 5))
    playback.finish()
    rest = b""
    while not emitter.pushed.empty():
        rest += emitter.pushed.get_nowait()
    assert rest == sound(0.5, 4).data + sound(0.03, 5).data


async def test_audio_of_another_rate_is_handed_on_to_its_last_sample() -> None:
    emitter = Emitter()
    playback = Playback(emitter, request_id="r", sample_rate=RATE, stream=False)  # type: ignore[arg-type]
    for _ in range(10):
        playback.play(Audio(bytes(2 * 1600), 16000))
    playback.finish()
    handed_on = 0
    while not emitter.pushed.empty():
        handed_on += len(emitter.pushed.get_nowait())
    assert handed_on == 2 * RATE


async def test_what_is_held_when_the_listener_goes_is_never_handed_on() -> None:
    emitter = Emitter()
    playback = Playback(emitter, request_id="r", sample_rate=RATE, stream=False)  # type: ignore[arg-type]
    playback.play(sound(1.0, 1))
    playback.play(sound(0.03, 2))
    playback.stop()
    playback.finish()
    assert emitter.pushed.get_nowait() == sound(1.0, 1).data
    assert emitter.pushed.empty()


async def test_the_further_ahead_the_listener_is_the_longer_the_frames_up_to_a_second() -> None:
    emitter = Emitter()
    playback = Playback(emitter, request_id="r", sample_rate=RATE, stream=False)  # type: ignore[arg-type]
    lengths: list[float] = []
    handed_on = received = 0.0
    for value in range(120):
        playback.play(sound(0.1, value))
        received += 0.1
        while not emitter.pushed.empty():
            lengths.append(len(emitter.pushed.get_nowait()) / (2 * RATE))
            handed_on += lengths[-1]
        # Time has passed since, so the listener has heard a little of it already.
        assert received - handed_on <= max(0.2, received / 2)
    playback.stop()
    assert lengths[0] == 0.1  # at once
    assert max(lengths) == 1.0
    assert len(lengths) < 25


async def test_what_comes_as_one_is_cut_into_frames_of_a_second_at_most() -> None:
    emitter = Emitter()
    playback = Playback(emitter, request_id="r", sample_rate=RATE, stream=False)  # type: ignore[arg-type]
    playback.play(sound(2.5, 7))
    frames = [emitter.pushed.get_nowait() for _ in range(emitter.pushed.qsize())]
    assert [len(frame) for frame in frames] == [2 * RATE, 2 * RATE, RATE]
    assert b"".join(frames) == sound(2.5, 7).data


async def test_the_end_of_a_sentence_does_not_wait_for_the_next(
    make: Make, sandbox: Sandbox
) -> None:
    # A resampler keeps some hundredths of a second back, until it is told that no more comes.
    for _ in range(2):
        file = wav(bytes(2 * 32000), rate=16000)
        sandbox.faults.add(Fault(do="status", status=200, body=file))
    text = "This is the first sentence of two. And this is the second of them."
    first, second = await timed(make("http"), text)
    assert (first.start_time, second.start_time) == (0.0, pytest.approx(2.0, abs=0.001))


async def test_paced_sentences_are_captioned_as_they_are_written(make: Make) -> None:
    pacer = agents_tts.SentenceStreamPacer(min_remaining_audio=60.0)
    text = "This is the first of three. This is the second of them. And that is all of it."
    pieces = await timed(make("http", text_pacing=pacer), text)
    assert len(pieces) == 2  # the pacer puts sentences together
    assert "".join(pieces) == text
