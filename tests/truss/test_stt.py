"""Our STT against the Whisper truss on Baseten's real model server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import jiwer
import numpy as np
import pytest

from livekit import rtc
from livekit.agents import APIConnectOptions, APIError, APIStatusError
from livekit.agents.stt import SpeechEvent, SpeechEventType
from livekit.agents.utils.audio import audio_frames_from_file
from livekit.plugins.baseten_stt import STT, SpeechStream

pytestmark = [pytest.mark.truss, pytest.mark.timeout(60, func_only=True)]

SPEECH = Path(__file__).parents[1] / "speech" / "librivox-0870.wav"
SAID = (
    "and mister john dashwood had then leisure to consider how much there might be prudently "
    "in his power to do for them"
)
ONCE = APIConnectOptions(max_retry=0, retry_interval=0.0, timeout=10.0)
OFTEN = APIConnectOptions(max_retry=3, retry_interval=0.0, timeout=10.0)


@pytest.fixture
async def ears() -> AsyncIterator[Callable[..., STT]]:
    """Make STT instances that end with the test, and that may send faster than real time."""
    made: list[STT] = []

    def make(server: Any, **options: Any) -> STT:
        options = {"replay_speed": None, **options}
        made.append(STT(model_endpoint=server.endpoint, api_key="key", **options))
        return made[-1]

    yield make
    await asyncio.gather(*(stt.aclose() for stt in made))


def frame(*parts: np.ndarray) -> rtc.AudioFrame:
    pcm = np.concatenate(parts)
    return rtc.AudioFrame(pcm.tobytes(), 16000, 1, len(pcm))


def turns(tones: Any, *texts: str) -> rtc.AudioFrame:
    """Each text, and the silence that ends its turn."""
    return frame(*(part for text in texts for part in (tones.speak(text)[0], tones.silence(0.5))))


def finals(events: list[SpeechEvent]) -> list[str]:
    return [e.alternatives[0].text for e in events if e.type is SpeechEventType.FINAL_TRANSCRIPT]


async def first(
    stream: SpeechStream, kind: SpeechEventType = SpeechEventType.FINAL_TRANSCRIPT
) -> SpeechEvent:
    async for event in stream:
        if event.type is kind:
            return event
    raise AssertionError(f"the stream ended without {kind}")


@pytest.mark.models
async def test_human_speech_is_transcribed(
    start: Callable[..., Any], ears: Callable[..., STT]
) -> None:
    stt = ears(start("streaming-whisper"), enable_partial_transcripts=False)
    async with stt.stream(conn_options=ONCE) as stream:
        async for part in audio_frames_from_file(str(SPEECH), sample_rate=16000):
            stream.push_frame(part)
        stream.end_input()
        events = [event async for event in stream]
    plain = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation()])
    heard = plain(" ".join(finals(events))).replace("mr ", "mister ")
    assert jiwer.wer(SAID, heard) <= 0.15
    times = [
        word.start_time
        for event in events
        if event.type is SpeechEventType.FINAL_TRANSCRIPT
        for word in event.alternatives[0].words or ()
    ]
    assert len(times) == len(" ".join(finals(events)).split())
    assert times == sorted(times)


async def test_turns_come_whole_in_order_and_balanced(
    whisper: Any, ears: Callable[..., STT], tones: Any
) -> None:
    said = ["amber birch cedar", "delta", "ember flint grove hazel ivory"]
    async with ears(whisper).stream(conn_options=ONCE) as stream:
        stream.push_frame(turns(tones, *said))
        stream.push_frame(frame(tones.speak("jade kelp")[0]))
        stream.end_input()
        events = [event async for event in stream]
    assert finals(events) == [*said, "jade kelp"]
    edges = [
        event.type
        for event in events
        if event.type in (SpeechEventType.START_OF_SPEECH, SpeechEventType.END_OF_SPEECH)
    ]
    assert edges == [SpeechEventType.START_OF_SPEECH, SpeechEventType.END_OF_SPEECH] * 4


async def test_configuration_that_the_model_refuses_is_told_as_such(
    whisper: Any, ears: Callable[..., STT], tones: Any
) -> None:
    before = whisper.sessions
    stt = ears(whisper, streaming_params={"unknown_key": 1})
    async with stt.stream(conn_options=OFTEN) as stream:
        stream.push_frame(turns(tones, "amber birch"))
        stream.end_input()
        with pytest.raises(APIError, match="configuration rejected"):
            async for event in stream:
                assert event.type is not SpeechEventType.FINAL_TRANSCRIPT
    # It might have been a fault of the moment, so one more try is made, but not all of them.
    assert whisper.sessions == before + 2


async def test_an_exception_in_mid_stream_costs_no_word(
    whisper: Any, ears: Callable[..., STT], tones: Any
) -> None:
    before = whisper.sessions
    async with ears(whisper).stream(conn_options=OFTEN) as stream:
        stream.push_frame(turns(tones, "amber birch cedar"))
        opening = await first(stream)
        (whisper.folder / "detector-failures").write_text("1")
        stream.push_frame(turns(tones, "delta ember"))
        second = await first(stream)
        stream.push_frame(turns(tones, "flint grove"))
        stream.end_input()
        rest = finals([event async for event in stream])
    assert [e.alternatives[0].text for e in (opening, second)] == [
        "amber birch cedar",
        "delta ember",
    ]
    assert rest == ["flint grove"]
    assert whisper.sessions == before + 2


async def test_a_model_that_always_fails_is_told(
    whisper: Any, ears: Callable[..., STT], tones: Any
) -> None:
    (whisper.folder / "detector-failures").write_text("1")
    async with ears(whisper).stream(conn_options=ONCE) as stream:
        stream.push_frame(turns(tones, "amber birch cedar"))
        stream.end_input()
        with pytest.raises(APIStatusError) as raised:
            async for event in stream:
                assert event.type is not SpeechEventType.FINAL_TRANSCRIPT
    assert raised.value.status_code == 1011


async def test_a_turn_that_cannot_be_transcribed_costs_that_turn_alone(
    whisper: Any, ears: Callable[..., STT], tones: Any
) -> None:
    async with ears(whisper).stream(conn_options=OFTEN) as stream:
        stream.push_frame(turns(tones, "amber birch"))
        assert (await first(stream)).alternatives[0].text == "amber birch"
        stream.push_frame(turns(tones, "thunder"))
        stream.push_frame(turns(tones, "cedar delta"))
        stream.end_input()
        assert finals([event async for event in stream]) == ["cedar delta"]


async def test_a_model_that_is_loading_is_waited_for(
    start: Callable[..., Any], ears: Callable[..., STT], tones: Any
) -> None:
    server = start("streaming-whisper", model="whisper.py", loading=True)
    impatient = ears(server, cold_start_timeout=0.0)
    async with impatient.stream(conn_options=ONCE) as stream:
        with pytest.raises(APIStatusError) as raised:
            await first(stream)
    assert raised.value.status_code == 503
    assert raised.value.retryable is True
    assert "Model with name model is not ready." in raised.value.message
    refused = server.log.count("/v1/websocket")
    async with ears(server).stream(conn_options=ONCE) as stream:
        stream.push_frame(turns(tones, "amber birch"))
        await server.wrote("/v1/websocket", refused + 1)
        server.loaded()
        assert (await first(stream)).alternatives[0].text == "amber birch"


async def test_a_replica_that_is_taken_away_in_mid_turn_costs_no_word(
    start: Callable[..., Any], ears: Callable[..., STT], tones: Any
) -> None:
    server = start("streaming-whisper", model="whisper.py")
    closes: list[APIError] = []
    stt = ears(server, partial_transcript_interval_s=0.2)
    stt.on("error", lambda event: closes.append(event.error))
    many = APIConnectOptions(max_retry=300, retry_interval=0.1, timeout=10.0)
    async with stt.stream(conn_options=many) as stream:
        stream.push_frame(turns(tones, "amber birch"))
        assert (await first(stream)).alternatives[0].text == "amber birch"
        stream.push_frame(frame(tones.speak("cedar delta")[0]))
        await first(stream, SpeechEventType.INTERIM_TRANSCRIPT)
        server.terminate()
        await asyncio.to_thread(server.restart)
        stream.push_frame(turns(tones, "ember flint"))
        stream.end_input()
        assert finals([event async for event in stream]) == ["cedar delta ember flint"]
    assert isinstance(closes[0], APIStatusError)
    assert closes[0].status_code == 1012


async def test_a_silent_stream_answers_the_pings_and_stays(
    start: Callable[..., Any], ears: Callable[..., STT], tones: Any
) -> None:
    server = start("streaming-whisper", model="whisper.py", ping=(0.2, 3.0))
    async with ears(server).stream(conn_options=ONCE) as stream:
        await server.accepted(1)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(server.endpoint, autoping=False) as mute,
        ):
            # Opened later, and closed for its missing pong: the stream would be closed by now.
            assert (await mute.receive(timeout=30)).type is aiohttp.WSMsgType.PING
            while (message := await mute.receive(timeout=30)).type is aiohttp.WSMsgType.PING:
                pass
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert (message.data, message.extra) == (1011, "keepalive ping timeout")
        stream.push_frame(turns(tones, "amber birch"))
        assert (await first(stream)).alternatives[0].text == "amber birch"
    assert server.sessions == 2
