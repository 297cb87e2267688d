"""The least that a LiveKit plugin can be: the bare client inside of LiveKit's own classes.

It has no errors, no retries, no options and no reconnects, and is no plugin to use: it shows how much
of a plugin's cost is LiveKit's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from livekit.agents import APIConnectOptions, stt, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

__all__ = ["FloorSTT", "FloorTTS"]


class FloorTTS(tts.TTS):
    """Speaks each utterance through a bare client of its own.

    Args:
        make: Makes the bare client.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True), sample_rate=24000, num_channels=1
        )
        self.make = make

    def synthesize(self, text: str, **kwargs: Any) -> tts.ChunkedStream:
        raise NotImplementedError

    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.SynthesizeStream:
        return _Speech(tts=self, conn_options=conn_options)


class _Speech(tts.SynthesizeStream):
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id="floor",
            sample_rate=24000,
            num_channels=1,
            mime_type="audio/pcm",
            stream=True,
        )
        output_emitter.start_segment(segment_id="floor")
        text = ""
        async for data in self._input_ch:
            if isinstance(data, str):
                text += data
        self._mark_started()
        assert isinstance(self._tts, FloorTTS)
        async for audio in self._tts.make().say(text):
            output_emitter.push(audio)
        output_emitter.end_segment()


class FloorSTT(stt.STT):
    """Hears through bare clients.

    Args:
        make: Makes one, given who hears.
    """

    def __init__(self, make: Callable[[Callable[[bool, str], None]], Any]) -> None:
        super().__init__(
            capabilities=stt.STTCapabilities(streaming=True, interim_results=True),
        )
        self.make = make

    async def _recognize_impl(self, *args: Any, **kwargs: Any) -> stt.SpeechEvent:
        raise NotImplementedError

    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS, **kwargs: Any
    ) -> stt.RecognizeStream:
        return _Hearing(stt=self, conn_options=conn_options, sample_rate=16000)


class _Hearing(stt.RecognizeStream):
    def _hear(self, final: bool, text: str) -> None:
        kinds = stt.SpeechEventType
        kind = kinds.FINAL_TRANSCRIPT if final else kinds.INTERIM_TRANSCRIPT
        heard = stt.SpeechData(language="en", text=text)  # type: ignore[arg-type]
        self._event_ch.send_nowait(stt.SpeechEvent(type=kind, alternatives=[heard]))

    async def _run(self) -> None:
        assert isinstance(self._stt, FloorSTT)
        bare = self._stt.make(self._hear)
        await bare.open()
        push: Callable[[bytes], Awaitable[None]] = bare.push
        try:
            async for frame in self._input_ch:
                if not isinstance(frame, self._FlushSentinel):
                    await push(bytes(frame.data))
        finally:
            closing = asyncio.create_task(bare.close())
            await utils.aio.cancel_and_wait(closing)
