"""How many live Whisper sessions the sandbox keeps up with on this machine.

    python benchmarks/sandbox.py [--sessions 1 2] [--seconds 20] [--moonshine]

Each session sends recorded human speech as a microphone does, 32 ms of audio every 32 ms, and waits
for what is heard. Shown is how long after the end of a turn its final came, and how late the last
answer came in relation to the audio (1 is real time). It has nothing to do with the plugins.
"""

from __future__ import annotations

import asyncio
import wave
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
from arena import Arena, parser
from process import HERE
from report import Measure, Report

SPEECH = HERE.parent / "tests" / "speech"
FRAME = 512
RATE = 16000
SILENCE_MS = 300
CONFIG = {
    "streaming_vad_config": {"min_silence_duration_ms": SILENCE_MS},
    "streaming_params": {"enable_partial_transcripts": True, "partial_transcript_interval_s": 1.0},
    "whisper_params": {"show_word_timestamps": True},
}


@dataclass
class Heard:
    """What came of one session; seconds."""

    audio: float
    lags: list[float] = field(default_factory=list)
    partials: int = 0
    took: float = 0.0


def clips() -> list[np.ndarray]:
    found = []
    for path in sorted(SPEECH.glob("*.wav")):
        with wave.open(str(path)) as file:
            if (file.getframerate(), file.getnchannels()) != (RATE, 1):
                raise SystemExit(f"{path.name} isn't mono at {RATE} Hz")
            found.append(np.frombuffer(file.readframes(file.getnframes()), dtype="<i2"))
    return found


def speech(which: int, seconds: float) -> np.ndarray:
    """So much audio of one speaker after the other, with pauses as people make them."""
    found = clips()
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < seconds * RATE:
        pieces += [found[(which + len(pieces) // 2) % len(found)], np.zeros(RATE, np.int16)]
    return np.concatenate(pieces)


async def session(server: dict[str, Any], pcm: np.ndarray, start: float) -> Heard:
    """Send a clip in real time from a moment on; note when each final came."""
    loop = asyncio.get_running_loop()
    data = pcm.tobytes() + bytes(RATE)  # half a second of silence ends the last turn
    data += bytes(-len(data) % (2 * FRAME))
    heard = Heard(len(data) / 2 / RATE)
    headers = {"Authorization": f"Bearer {server['key']}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.ws_connect(server["urls"]["whisper1"]) as ws,
    ):
        await ws.send_json(CONFIG)

        async def talk() -> None:
            for index, at in enumerate(range(0, len(data), 2 * FRAME)):
                await asyncio.sleep(start + (index + 1) * FRAME / RATE - loop.time())
                await ws.send_bytes(data[at : at + 2 * FRAME])
            await ws.send_json({"type": "end_audio"})

        talking = asyncio.create_task(talk())
        while True:
            message = await ws.receive_json(timeout=120)
            now = loop.time() - start
            if message["type"] == "transcription":
                if message["is_final"]:
                    # The turn is known to be over once its silence has passed.
                    end = message["segments"][-1]["end_time"]
                    heard.lags.append(now - end - SILENCE_MS / 1000)
                else:
                    heard.partials += 1
            elif message.get("body", {}).get("status") == "finished":
                break
        await talking
    heard.took = now
    return heard


async def measure(server: dict[str, Any], count: int, seconds: float) -> list[Heard]:
    """So many sessions at once."""
    said = [speech(index, seconds)[: round(seconds * RATE)] for index in range(count)]
    start = asyncio.get_running_loop().time() + 0.5
    # Not all begin at once: nor do people.
    return await asyncio.gather(
        *(session(server, pcm, start + index * 0.37) for index, pcm in enumerate(said))
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sessions", type=int, nargs="+", default=[1, 2])
    options.add_argument("--seconds", type=float, default=20.0, help="of audio a session")
    options.add_argument("--moonshine", action="store_true", help="Moonshine in place of Whisper")
    args = options.parse_args()
    args.no_peer = True  # there is none
    engine = "moonshine" if args.moonshine else "whisper"
    if args.short:
        engine, args.sessions, args.seconds = "tones", [1], 2.0
    report = Report(
        "sandbox",
        "Live sessions that the sandbox keeps up with",
        {
            "lag": Measure("from the end of a turn to its final", "s", 2),
            "ratio": Measure("time over length of the audio", "times", 3),
            "partials": Measure("partials that came", "a session", 0, drawn=False),
        },
    )
    with Arena(args) as arena:
        server = arena.server().do("sandbox", name="near", transcriber=engine)
        for count in args.sessions:
            for heard in asyncio.run(measure(server, count, args.seconds)):
                report.add(
                    f"{count} session{'s' * (count > 1)}",
                    engine,
                    lag=heard.lags,
                    ratio=heard.took / heard.audio,
                    partials=heard.partials,
                )
        arena.deliver(report)


if __name__ == "__main__":
    main()
