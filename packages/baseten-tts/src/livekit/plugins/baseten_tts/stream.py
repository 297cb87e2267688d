from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from livekit.agents import APIConnectOptions, APIError, tokenize, tts, utils
from livekit.agents.utils import aio
from livekit.plugins.baseten_common import HTTPStream

from .lines import Line
from .playback import Playback
from .script import Script
from .sentences import SentenceSpeech
from .words import joint, speakable

if TYPE_CHECKING:
    from .tts import TTS

__all__ = ["SynthesizeStream"]

_PORTION = 1000  # characters


class SynthesizeStream(tts.SynthesizeStream):
    """One utterance whose text comes in pieces; see :meth:`.TTS.stream`.

    Over a WebSocket the text goes out as it comes. Over HTTP it is spoken sentence by sentence,
    and the next request is under way before the audio of the last one ends.
    """

    def __init__(self, *, tts: TTS, conn_options: APIConnectOptions) -> None:
        """Wait for text; nothing is dialled before there is something to say."""
        super().__init__(tts=tts, conn_options=conn_options)
        self._baseten = tts
        self._opts = tts._opts

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        playback = Playback(
            output_emitter,
            request_id=utils.shortuuid(),
            sample_rate=self._baseten.sample_rate,
            stream=True,
        )
        script = Script()
        reading: asyncio.Task[None] | None = None
        try:
            while not script.speakable and not script.ended:
                await self._read(script)
            if not script.speakable:
                if not script.blank:
                    playback.be_silent()
                return
            if not script.ended:
                reading = asyncio.create_task(self._read_on(script), name="baseten.tts.read")
            await self._speak(script, playback, output_emitter)
        except APIError as e:
            raise await playback.give_up(e) from None
        finally:
            playback.stop()
            if reading is not None:
                await aio.cancel_and_wait(reading)

    async def _read(self, script: Script) -> None:
        """Wait for more text, and take all that has come."""
        channel = self._input_ch  # LiveKit replaces it for each attempt
        try:
            data = await channel.recv()
            while True:
                if isinstance(data, str):
                    script.add(data)
                elif not script.blank:
                    break  # LiveKit drops what comes after a flush: a stream is one segment
                if channel.empty() and not channel.closed:
                    return
                data = channel.recv_nowait()
        except aio.ChanClosed:
            pass
        script.end()

    async def _read_on(self, script: Script) -> None:
        while not script.ended:
            await self._read(script)

    async def _speak(self, script: Script, playback: Playback, emitter: tts.AudioEmitter) -> None:
        over_http = self._baseten._sockets is None
        tokenizer, pacer = self._baseten._tokenizer, self._baseten._pacer
        if tokenizer is None:
            await self._over_websocket(script, playback)
            return
        self._baseten.prewarm()  # a sentence takes a while to come
        sentences: tokenize.SentenceStream = tokenizer.stream()
        if pacer:
            sentences = pacer.wrap(sent_stream=sentences, audio_emitter=emitter)
        feeding = asyncio.create_task(_feed(script, sentences), name="baseten.tts.sentences")
        try:
            if over_http:
                await self._over_http(_texts(sentences), playback)
            else:
                await self._in_pieces(_texts(sentences), playback)
            await feeding  # for what a tokenizer may have raised
        finally:
            await aio.cancel_and_wait(feeding)
            await sentences.aclose()

    async def _over_websocket(self, script: Script, playback: Playback) -> None:
        def started(line: Line) -> None:
            self._acquire_time = line.acquire_time
            self._connection_reused = line.reused
            self._mark_started()

        conversation = await self._baseten._conversation(
            self._opts, limit=self._conn_options.timeout, started=started
        )
        await conversation.speak(script, playback)

    async def _in_pieces(self, texts: AsyncIterator[str], playback: Playback) -> None:
        # An utterance each: a server that gathers words would wait for the next sentence, and a
        # pacer waits for the audio of this one.
        unspoken = before = ""
        async for text in texts:
            unspoken += joint(before, text) + text
            before = text
            if speakable(text):
                playback.begin_piece()
                await self._over_websocket(Script(unspoken), playback)
                unspoken = ""

    async def _over_http(self, texts: AsyncIterator[str], playback: Playback) -> None:
        def started(answer: HTTPStream) -> None:
            if not playback.begun:  # that of the first sentence, which is the one waited for
                self._acquire_time = answer.acquire_time
                self._connection_reused = answer.reused
            playback.note_request(answer.request_id)

        synthesis = self._baseten._synthesis(
            self._opts, limit=self._conn_options.timeout, started=started
        )
        speech = SentenceSpeech(
            synthesis,
            conn_options=self._conn_options,
            started=self._mark_started,
            failed=self._note_retry,
        )
        await speech.speak(texts, playback)

    def _note_retry(self, error: APIError) -> None:
        self._emit_error(error, recoverable=True)
        # The attempt as a whole goes on, and its metrics count.
        self._current_attempt_has_error = False


async def _feed(script: Script, sentences: tokenize.SentenceStream) -> None:
    try:
        async for part in script.parts():
            # For each sentence a tokenizer reads all of the rest again, and lets nobody else run.
            for at in range(0, len(part), _PORTION):
                if at:
                    await asyncio.sleep(0)
                sentences.push_text(part[at : at + _PORTION])
    finally:
        sentences.end_input()


async def _texts(sentences: tokenize.SentenceStream) -> AsyncIterator[str]:
    async for sentence in sentences:
        yield sentence.token
