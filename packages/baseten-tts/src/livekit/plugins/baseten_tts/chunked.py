from __future__ import annotations

from typing import TYPE_CHECKING

from livekit.agents import APIConnectOptions, APIError, tts, utils
from livekit.plugins.baseten_common import HTTPStream

from .lines import Line
from .playback import Playback
from .script import Script
from .words import encodable, speakable

if TYPE_CHECKING:
    from .tts import TTS

__all__ = ["ChunkedStream"]


class ChunkedStream(tts.ChunkedStream):
    """One text spoken at once; see :meth:`.TTS.synthesize`."""

    def __init__(self, *, tts: TTS, input_text: str, conn_options: APIConnectOptions) -> None:
        """Start to speak."""
        super().__init__(tts=tts, input_text=input_text, conn_options=conn_options)
        self._baseten = tts
        self._opts = tts._opts

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        playback = Playback(
            output_emitter,
            request_id=utils.shortuuid(),
            sample_rate=self._baseten.sample_rate,
            stream=False,
        )
        if not speakable(self._input_text):
            if self._input_text.strip():
                playback.be_silent()
            return
        try:
            if self._baseten._sockets is not None:
                await self._over_websocket(playback)
            else:
                await self._over_http(playback)
        except APIError as e:
            raise await playback.give_up(e) from None
        finally:
            playback.stop()

    async def _over_websocket(self, playback: Playback) -> None:
        def started(line: Line) -> None:
            self._acquire_time = line.acquire_time
            self._connection_reused = line.reused

        conversation = await self._baseten._conversation(
            self._opts, limit=self._conn_options.timeout, started=started
        )
        await conversation.speak(Script(self._input_text), playback)

    async def _over_http(self, playback: Playback) -> None:
        def started(answer: HTTPStream) -> None:
            self._acquire_time = answer.acquire_time
            self._connection_reused = answer.reused
            playback.note_request(answer.request_id)

        synthesis = self._baseten._synthesis(
            self._opts, limit=self._conn_options.timeout, started=started
        )
        await synthesis.speak(encodable(self._input_text), playback.play)
        playback.finish()
