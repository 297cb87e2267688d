"""Who sends the audio that comes in: the caller that pushes it, or the task that waits for it."""

from __future__ import annotations

import asyncio

import pytest

from livekit import rtc
from livekit.agents import APIConnectionError, APITimeoutError
from livekit.plugins.baseten_stt.intake import Intake
from livekit.plugins.baseten_stt.link import Link
from livekit.plugins.baseten_stt.options import STTOptions
from livekit.plugins.baseten_stt.protocols.whisper import WhisperProtocol

OPTIONS = STTOptions(model="whisper", language="en")


def audio(samples: int) -> rtc.AudioFrame:
    return rtc.AudioFrame(b"\1\0" * samples, 16000, 1, samples)


class Peer:
    """Takes what is sent, until it doesn't keep up."""

    def __init__(self) -> None:
        self.at_once: list[bytes] = []
        self.waited_for: list[bytes] = []
        self.idle = True
        self.broken = False

    def send_nowait(self, data: bytes) -> bool:
        if self.broken:
            raise APIConnectionError("broken")
        if self.idle:
            self.at_once.append(data)
        return self.idle

    async def send(self, data: bytes) -> None:
        self.waited_for.append(data)


def link(peer: Peer, intake: Intake, speed: float | None = None) -> Link:
    return Link(
        peer,  # type: ignore[arg-type]
        WhisperProtocol(OPTIONS),
        intake.replay,
        start=0,
        opened=0.0,
        speed=speed,
        answer_timeout=5.0,
        check_interval=5.0,
    )


@pytest.fixture
def intake() -> Intake:
    return Intake(sample_rate=16000, report=lambda seconds: None)


async def waiting(intake: Intake, link: Link) -> asyncio.Task[None]:
    until = link.cursor + link.protocol.frame_samples
    task = asyncio.create_task(intake.wait(until, link.keep_up))
    await asyncio.sleep(0)
    return task


async def test_whole_frames_go_out_as_they_are_pushed(intake: Intake):
    peer = Peer()
    task = await waiting(intake, link(peer, intake))
    for samples, frames in ((500, 0), (12, 1), (1200, 3), (336, 4)):
        intake.send_nowait(audio(samples))
        assert len(peer.at_once) == frames
    assert {len(frame) for frame in peer.at_once} == {1024}
    await asyncio.sleep(0)
    assert not task.done()
    intake.wake()
    await task
    intake.send_nowait(audio(512))
    assert len(peer.at_once) == 4  # nobody waits: the task is at work


async def test_a_flush_is_left_to_the_task(intake: Intake):
    peer = Peer()
    out = link(peer, intake)
    task = await waiting(intake, out)
    intake.send_nowait(audio(700))
    intake.flush()
    intake.send_nowait(audio(700))
    await task
    assert len(peer.at_once) == 1
    assert out.keep_up() is None
    await out.catch_up()
    # The rest with its padding, the silence that ends the turn, and what came after the mark.
    assert len(peer.waited_for) == 1 + out.protocol.flush_silence() + 1
    assert out.keep_up() == out.cursor + 512


async def test_a_peer_that_falls_behind_is_waited_for(intake: Intake):
    peer = Peer()
    out = link(peer, intake)
    task = await waiting(intake, out)
    peer.idle = False
    intake.send_nowait(audio(1024))
    await task
    assert out.cursor == 0
    await out.catch_up()
    assert (len(peer.at_once), len(peer.waited_for)) == (0, 2)


async def test_what_is_too_fast_is_left_to_the_task(intake: Intake):
    peer = Peer()
    out = link(peer, intake, speed=2.0)
    task = await waiting(intake, out)
    intake.send_nowait(audio(10 * 16000))
    await task
    assert (len(peer.at_once), out.cursor) == (0, 0)
    # It counts for nothing until it goes out: less of it still goes at once.
    out.cursor = intake.replay.end - 1600
    assert out.keep_up() == out.cursor + 512
    assert len(peer.at_once) == 3


async def test_whoever_pushes_hears_nothing_of_a_broken_connection(intake: Intake):
    peer = Peer()
    task = await waiting(intake, link(peer, intake))
    peer.broken = True
    intake.send_nowait(audio(512))
    await task  # which meets it too
    intake.send_nowait(audio(512))
    assert intake.replay.read(0, 2000) == b"\1\0" * 1024


def test_a_health_check_waits_for_what_is_in_the_buffer(intake: Intake):
    peer = Peer()
    out = link(peer, intake)
    now = out.opened + 10**9
    peer.idle = False
    out.check(now)
    out.check(now + 100.0)
    assert peer.at_once == []
    peer.idle = True
    out.check(now + 200.0)
    assert peer.at_once == ['{"type": "health_check"}']
    out.read('{"type": "health_check", "body": {"status": "ok"}}')
    out.check(now + 206.0)
    out.check(now + 210.0)
    with pytest.raises(APITimeoutError, match="the server is gone"):
        out.check(now + 211.5)
