"""A server that speaks streaming Whisper's protocol to a beat, and recognises nothing.

It costs little enough that hundreds of streams and their client fit a small machine. It sends what
a Whisper server sends, at its rhythm: of each three seconds of audio two are taken for speech, with
a partial transcript each so often, and then a final one. The last word of each transcript is the
moment it was sent, by the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from aiohttp import WSMsgType, web

__all__ = ["Metronome"]

_FRAME = 512 / 16000
_TURN, _SPEECH, _SILENCE = 3.0, 2.0, 0.3  # seconds
_WORDS = ("so", "this", "is", "what", "we", "said", "to", "each", "other", "then")


class Metronome:
    """The server. It listens on loopback from :meth:`start` on.

    Args:
        mute: Answer health checks and nothing else, so that no audio is ever confirmed.
    """

    def __init__(self, *, mute: bool = False) -> None:
        self._mute = mute
        self._runner: web.AppRunner | None = None
        self._connections = 0

    async def start(self) -> str:
        """Listen; the URL."""
        app = web.Application()
        app.router.add_get("/environments/production/websocket", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        port = self._runner.addresses[0][1]
        return f"ws://127.0.0.1:{port}/environments/production/websocket"

    async def stop(self) -> None:
        """Stop listening and cut what is open."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        metadata = json.loads(await ws.receive_str())
        streaming = metadata["streaming_params"]
        every = max(1, round(streaming["partial_transcript_interval_s"] / _FRAME))
        partials = streaming["enable_partial_transcripts"]
        turn, speech, over = (round(s / _FRAME) for s in (_TURN, _SPEECH, _SPEECH + _SILENCE))
        # Callers don't speak in step.
        shift = self._connections * 37 % turn
        self._connections += 1
        frames = finals = 0
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await self._answer(ws, json.loads(message.data))
                continue
            if message.type is not WSMsgType.BINARY:
                break
            frames += 1
            at = (frames + shift) % turn
            if self._mute:
                continue
            if at == over:
                finals += 1
                await ws.send_str(_transcript(frames, over, finals, final=True))
            elif partials and 0 < at <= speech and at % every == 0:
                await ws.send_str(_transcript(frames, at, finals, final=False))
        return ws

    async def _answer(self, ws: web.WebSocketResponse, message: dict[str, Any]) -> None:
        if message.get("type") == "health_check":
            await ws.send_json({"type": "health_check", "body": {"healthy": True}})
        elif message.get("type") == "end_audio" and not self._mute:
            for status in ("acknowledged", "finished"):
                await ws.send_json({"type": "end_audio", "body": {"status": status}})
            await asyncio.sleep(0)


def _transcript(frames: int, spoken: int, number: int, *, final: bool) -> str:
    heard = min(spoken * _FRAME, _SPEECH)
    end = frames * _FRAME - (spoken * _FRAME - heard)
    start = max(0.0, end - heard)
    words = _WORDS[: max(1, round(len(_WORDS) * (end - start) / _SPEECH))]
    step = (end - start) / (len(words) + 1)
    text = " ".join([*words, f"{time.monotonic():.6f}"])
    return json.dumps(
        {
            "type": "transcription",
            "is_final": final,
            "transcription_num": number,
            "language_code": "en",
            "language_prob": 0.98,
            "audio_length_sec": round(end - start, 3),
            "segments": [
                {
                    "text": text,
                    "log_prob": -0.2,
                    "start_time": round(start, 3),
                    "end_time": round(end, 3),
                    "speaker": None,
                    "possible_hallucination": False,
                    "word_timestamps": [
                        {
                            "word": word,
                            "start_time": round(start + n * step, 3),
                            "end_time": round(start + (n + 1) * step, 3),
                            "prob": 0.97,
                        }
                        for n, word in enumerate(text.split(" "))
                    ],
                }
            ],
            "diarization": [],
            "timing_info": None,
        }
    )
