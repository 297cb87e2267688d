"""The engines of one sandbox, and the threads they work on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

from . import SpeechDetector, Synthesizer, Transcriber, Transcript
from .queueing import Turnstile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DetectorName", "EnginePool", "SynthesizerName", "TranscriberName"]

TranscriberName = Literal["whisper", "moonshine", "tones"]
SynthesizerName = Literal["hibari", "polyglot", "tones"]
DetectorName = Literal["silero", "tones"]


def _transcriber(name: TranscriberName) -> Transcriber:
    if name == "tones":
        from .tones import ToneTranscriber

        return ToneTranscriber()
    if name == "whisper":
        from .whisper import WhisperTranscriber

        return WhisperTranscriber()
    if name == "moonshine":
        from .moonshine import MoonshineTranscriber

        return MoonshineTranscriber()
    raise ValueError(
        f'transcriber must be "whisper", "moonshine", "tones" or a Transcriber, not {name!r}'
    )


def _synthesizer(name: SynthesizerName) -> Synthesizer:
    if name == "tones":
        from .tones import ToneSynthesizer

        return ToneSynthesizer()
    if name == "hibari":
        from .hibari import HibariSynthesizer

        return HibariSynthesizer()
    if name == "polyglot":
        from .polyglot import PolyglotSynthesizer

        return PolyglotSynthesizer()
    raise ValueError(
        f'synthesizer must be "hibari", "polyglot", "tones" or a Synthesizer, not {name!r}'
    )


def _detector(name: DetectorName) -> Callable[[], SpeechDetector]:
    if name == "tones":
        from .tones import ToneDetector

        return ToneDetector
    if name == "silero":
        from .silero import SileroDetector

        return SileroDetector
    raise ValueError(f'detector must be "silero", "tones" or a callable, not {name!r}')


class EnginePool:
    """Runs the engines on worker threads, so that no socket waits for a model.

    Args:
        transcriber: Name or instance; ``None`` where nothing is transcribed.
        synthesizer: Name or instance; ``None`` where nothing is spoken.
        detector: Name, or what makes a detector for a session; follows the transcriber if ``None``.
        threads: Transcriptions computed at once.
    """

    def __init__(
        self,
        *,
        transcriber: TranscriberName | Transcriber | None = None,
        synthesizer: SynthesizerName | Synthesizer | None = None,
        detector: DetectorName | Callable[[], SpeechDetector] | None = None,
        threads: int = 2,
    ) -> None:
        if detector is None:
            detector = "tones" if transcriber == "tones" else "silero"
        self._transcriber = (
            _transcriber(transcriber) if isinstance(transcriber, str) else transcriber
        )
        self._synthesizer = (
            _synthesizer(synthesizer) if isinstance(synthesizer, str) else synthesizer
        )
        self.new_detector = _detector(detector) if isinstance(detector, str) else detector
        # Speech has a thread of its own: a listener shouldn't wait for someone else's transcript.
        self._listening = ThreadPoolExecutor(threads, thread_name_prefix="baseten-sandbox-stt")
        self._speaking = ThreadPoolExecutor(1, thread_name_prefix="baseten-sandbox-tts")
        self._turnstile = Turnstile(threads)
        self._working: set[asyncio.Future[Transcript]] = set()

    @property
    def transcriber(self) -> Transcriber:
        """The speech-to-text engine.

        Raises:
            ValueError: This pool has none.
        """
        if self._transcriber is None:
            raise ValueError('there is no transcriber: EnginePool(transcriber="whisper") has one')
        return self._transcriber

    @property
    def synthesizer(self) -> Synthesizer:
        """The text-to-speech engine.

        Raises:
            ValueError: This pool has none.
        """
        if self._synthesizer is None:
            raise ValueError('there is no synthesizer: EnginePool(synthesizer="hibari") has one')
        return self._synthesizer

    @property
    def instant(self) -> bool:
        """Whether transcripts cost next to nothing, as an engine says by ``instant = True``."""
        return bool(getattr(self.transcriber, "instant", False))

    async def transcribe(
        self,
        pcm: NDArray[np.float32],
        *,
        language: str | None,
        word_times: bool,
        urgent: bool = True,
    ) -> Transcript:
        """Transcribe on a worker thread; see `Transcriber.transcribe`.

        Args:
            pcm: The audio.
            language: ISO 639-1 code, or ``None`` to detect it.
            word_times: Whether words with times are wanted.
            urgent: Whether to go in front of what isn't.
        """
        await self._turnstile.enter(urgent=urgent)
        work = asyncio.get_running_loop().run_in_executor(
            self._listening,
            lambda: self.transcriber.transcribe(pcm, language=language, word_times=word_times),
        )
        self._working.add(work)
        work.add_done_callback(self._worked)
        # Who asked may lose interest, but a thread can't be stopped: its slot stays taken.
        return await asyncio.shield(work)

    def _worked(self, work: asyncio.Future[Transcript]) -> None:
        self._working.discard(work)
        self._turnstile.leave()
        if not work.cancelled():
            # Looked at here, for the case that nobody else does.
            work.exception()

    async def synthesize(
        self, text: str, *, voice: str | None, language: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Speak on a worker thread, as chunks of PCM s16le at 24 kHz.

        Args:
            text: What to speak.
            voice: Name of the voice.
            language: ISO 639-1 code; put in front of the voice if the engine lists it in
                ``languages``, as `PolyglotSynthesizer` does.
        """
        loop = asyncio.get_running_loop()
        if language in getattr(self.synthesizer, "languages", ()):
            voice = f"{language}-{voice}" if voice else language
        chunks: Iterator[NDArray[np.int16]] = iter(self.synthesizer.synthesize(text, voice=voice))
        while True:
            chunk = await loop.run_in_executor(self._speaking, next, chunks, None)
            if chunk is None:
                return
            yield chunk.astype("<i2").tobytes()

    def close(self) -> None:
        """Stop the threads without waiting for work in progress."""
        for work in list(self._working):
            work.cancel()
        self._listening.shutdown(wait=False, cancel_futures=True)
        self._speaking.shutdown(wait=False, cancel_futures=True)
