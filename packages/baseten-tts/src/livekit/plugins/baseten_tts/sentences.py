"""A long text as several requests, the next under way while the last is still heard."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable

from livekit.agents import APIConnectOptions, APIError, tokenize
from livekit.agents.utils import aio

from .playback import Playback
from .predict import AFTER_SOUND, Synthesis
from .protocols import Audio, Spoken
from .words import joint, speakable

__all__ = ["SentenceSpeech", "default_tokenizer"]

_AHEAD = 2  # requests at a time: the one that is heard and the next


@functools.cache
def default_tokenizer(*, retain_format: bool) -> tokenize.SentenceTokenizer:
    """LiveKit's own.

    Args:
        retain_format: Keep spaces as they are. A pacer puts its own between sentences.
    """
    tokenizer = tokenize.blingfire.SentenceTokenizer(retain_format=retain_format)
    tokenizer.tokenize("It loads its rules.")  # that takes milliseconds: not when a text waits
    return tokenizer


class SentenceSpeech:
    """Speaks texts in order, each by a request of its own."""

    def __init__(
        self,
        synthesis: Synthesis,
        *,
        conn_options: APIConnectOptions,
        started: Callable[[], None],
        failed: Callable[[APIError], None],
    ) -> None:
        """Nothing is sent yet.

        Args:
            synthesis: Makes the requests.
            conn_options: How often a request is tried.
            started: Called when a request goes out.
            failed: Called with the error of a request that will be tried again.
        """
        self._synthesis = synthesis
        self._conn_options = conn_options
        self._started = started
        self._failed = failed

    async def speak(self, texts: AsyncIterator[str], playback: Playback) -> None:
        """Speak until the texts end.

        Raises:
            APIError: a sentence couldn't be spoken.
        """
        requests: asyncio.Queue[_Request | None] = asyncio.Queue()
        places = asyncio.Semaphore(_AHEAD)
        sent: list[_Request] = []

        unspoken = ""

        async def send() -> None:
            nonlocal unspoken
            try:
                last: _Request | None = None
                before = ""
                async for text in texts:
                    unspoken += joint(before, text) + text
                    before = text
                    if not speakable(text):
                        continue
                    await places.acquire()
                    if last:
                        # The first audio isn't made to wait for the second sentence's, nor is
                        # one that is sent again.
                        await last.begun.wait()
                        await asyncio.sleep(AFTER_SOUND)
                    self._started()
                    last = _Request(
                        self._synthesis, text.strip(), caption=unspoken, ahead=bool(sent)
                    )
                    unspoken = ""
                    sent.append(last)
                    requests.put_nowait(last)
            finally:
                requests.put_nowait(None)

        sending = asyncio.create_task(send(), name="baseten.tts.requests")
        try:
            while (request := await requests.get()) is not None:
                await self._play(request, playback)
                sent.remove(request)
                places.release()
            await sending
            if unspoken:
                playback.caption(Spoken(unspoken, 0.0))
            playback.finish()
        finally:
            await aio.cancel_and_wait(sending, *(request.task for request in sent))

    async def _play(self, request: _Request, playback: Playback) -> None:
        playback.begin_piece()
        playback.caption(Spoken(request.caption, 0.0))
        for attempt in range(self._conn_options.max_retry + 1):
            last_try = attempt == self._conn_options.max_retry
            try:
                await request.play(playback.play, last_try=last_try)
                playback.end_piece()
                return
            except APIError as e:
                # Before any sound LiveKit retries the whole; after a part of this sentence nobody
                # may. In between, saying this sentence again repeats nothing.
                if not playback.begun or request.heard or not e.retryable or last_try:
                    raise
                self._failed(e)
                await asyncio.sleep(self._conn_options._interval_for_retry(attempt))
                request.send()


class _Request:
    def __init__(self, synthesis: Synthesis, text: str, *, caption: str, ahead: bool) -> None:
        self.caption = caption
        self.heard = False
        self.begun = asyncio.Event()
        self._synthesis = synthesis
        self._text = text
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not ahead:
            self._turn.set_result(None)
        self.send()

    def send(self) -> None:
        """Send it, or send it again."""
        self._ahead: list[Audio] = []
        self._take: Callable[[Audio], None] | None = None
        self._error: Exception | None = None
        self.task = asyncio.create_task(self._fetch(), name="baseten.tts.request")

    async def play(self, take: Callable[[Audio], None], *, last_try: bool) -> None:
        """Hand on what has come, and the rest in the step that reads it.

        What broke off before its turn isn't handed on, so that it can be sent again; unless it
        won't be.

        Raises:
            APIError: the speech isn't complete.
        """
        if not self._turn.done():
            self._turn.set_result(None)
        error = self._error
        if last_try or not (isinstance(error, APIError) and error.retryable):
            self._take = take
            for audio in self._ahead:
                self._hear(audio)
        self._ahead.clear()
        await asyncio.wait([self.task])
        if self._error is not None:
            raise self._error

    async def _fetch(self) -> None:
        try:
            await self._synthesis.speak(self._text, self._hear, due=self._turn)
        except Exception as e:
            self._error = e  # raised where the audio is waited for
        else:
            self.begun.set()

    def _hear(self, audio: Audio) -> None:
        if self._take is None:
            self._ahead.append(audio)
        else:
            self.heard = True
            self._take(audio)
        self.begun.set()
