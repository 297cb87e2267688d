"""CPU that a client of streaming Whisper costs, per second of audio, beside a bare aiohttp client.

    python benchmarks/stt.py [--streams 20] [--seconds 20] [--rounds 3]
                             [--peer-python PATH]

Each client runs in a process of its own, in real time, against a sandbox in another process. With
``--peer-python``, an interpreter that has the published livekit-plugins-baseten is measured too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

_RATE = 16000
_PIECE = 800  # 50 ms, as a room gives it


async def _microphone(pcm: bytes) -> AsyncIterator[bytes]:
    start = time.monotonic()
    for number, at in enumerate(range(0, len(pcm), 2 * _PIECE)):
        await asyncio.sleep(start + number * _PIECE / _RATE - time.monotonic())
        yield pcm[at : at + 2 * _PIECE]


async def _bare(url: str, key: str, pcm: bytes, session: Any) -> int:
    metadata = {
        "whisper_params": {"audio_language": "en", "show_word_timestamps": True},
        "streaming_params": {
            "enable_partial_transcripts": True,
            "partial_transcript_interval_s": 1,
        },
        "streaming_vad_config": {},
    }
    finals = 0
    async with session.ws_connect(url, headers={"Authorization": f"Bearer {key}"}) as ws:
        await ws.send_str(json.dumps(metadata))

        async def listen() -> None:
            nonlocal finals
            async for message in ws:
                parsed = json.loads(message.data)
                finals += bool(parsed.get("is_final"))
                if (parsed.get("body") or {}).get("status") == "finished":
                    return

        listening = asyncio.create_task(listen())
        rest = b""
        async for piece in _microphone(pcm):
            rest += piece
            while len(rest) >= 1024:
                await ws.send_bytes(rest[:1024])
                rest = rest[1024:]
        await ws.send_str('{"type": "end_audio"}')
        await asyncio.wait_for(listening, 10)
    return finals


async def _plugin(stt: Any, pcm: bytes) -> int:
    from livekit import rtc

    stream = stt.stream()
    finals = 0

    async def listen() -> None:
        nonlocal finals
        async for event in stream:
            finals += event.type.value == "final_transcript"

    listening = asyncio.create_task(listen())
    async for piece in _microphone(pcm):
        stream.push_frame(rtc.AudioFrame(piece, _RATE, 1, len(piece) // 2))
    stream.end_input()
    await asyncio.wait([listening], timeout=3)  # the published plugin never ends by itself
    await stream.aclose()
    return finals


async def _client(kind: str, url: str, key: str, pcm: bytes, streams: int) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        if kind == "bare":

            def run(pcm: bytes) -> Any:
                return _bare(url, key, pcm, session)

        else:
            if kind == "peer":
                from livekit.plugins.baseten import STT  # the published one, by its interpreter
            else:
                from livekit.plugins.baseten_stt import STT
            stt = STT(api_key=key, model_endpoint=url, http_session=session)

            def run(pcm: bytes) -> Any:
                return _plugin(stt, pcm)

        await run(pcm[: 4 * _RATE])  # what is done once isn't counted
        jobs = [run(pcm) for _ in range(streams)]
        before = time.process_time()
        finals = await asyncio.gather(*jobs)
        spent = time.process_time() - before
    seconds = streams * len(pcm) / 2 / _RATE
    print(json.dumps({"ms": 1000 * spent / seconds, "finals": sum(finals)}))


def _serve(pipe: Any, seconds: float) -> None:
    async def run() -> None:
        import numpy as np

        from livekit.plugins.baseten_sandbox import Sandbox
        from livekit.plugins.baseten_sandbox.engines.tones import silence, speak

        turn = np.concatenate([silence(1.0), speak("one two three four five six")[0], silence(1.5)])
        pcm = np.tile(turn, int(seconds * _RATE / len(turn)) + 1)[: int(seconds * _RATE)]
        async with Sandbox(transcriber="tones", synthesizer="tones") as sandbox:
            pipe.send((sandbox.stt_endpoint, sandbox.api_key, pcm.tobytes()))
            while not pipe.poll():
                await asyncio.sleep(0.1)
                sandbox.sessions.clear()

    asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        pcm = sys.stdin.buffer.read()
        url, key = os.environ["STT_URL"], os.environ["STT_KEY"]
        asyncio.run(_client(arguments.client, url, key, pcm, arguments.streams))
        return
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs, arguments.seconds), daemon=True
    )
    server.start()
    url, key, pcm = ours.recv()
    clients = {"bare": sys.executable, "ours": sys.executable}
    if arguments.peer_python:
        clients["peer"] = arguments.peer_python
    best: dict[str, dict[str, float]] = {}
    for _ in range(arguments.rounds):  # the least disturbed round of each counts
        for kind, python in clients.items():
            command = [python, __file__, "--client", kind, "--streams", str(arguments.streams)]
            environment = {**os.environ, "STT_URL": url, "STT_KEY": key}
            done = subprocess.run(
                command, input=pcm, env=environment, capture_output=True, check=False
            )
            if done.returncode:
                print(f"{kind}: {done.stderr.decode()[-300:]}")
                continue
            result = json.loads(done.stdout.splitlines()[-1])
            if kind not in best or result["ms"] < best[kind]["ms"]:
                best[kind] = result
    for kind, result in best.items():
        print(
            f"{kind}: {result['ms']:.2f} ms of CPU per second of audio "
            f"({result['ms'] / best['bare']['ms']:.2f} x bare), {result['finals']:.0f} finals"
        )
    ours.send("stop")
    server.join(5)


if __name__ == "__main__":
    main()
