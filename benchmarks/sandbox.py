"""How many live Whisper sessions the sandbox keeps up with on this machine.

Each session sends recorded human speech as a microphone does, 32 ms of audio every 32 ms, and waits
for what is heard. Shown is how long after the end of a turn its final came, and how late the last
answer came in relation to the audio (1 is real time). A process of its own serves.

    python benchmarks/sandbox.py --sessions 1 2 4 --json sandbox.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
import wave
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

SPEECH = Path(__file__).parents[1] / "tests" / "speech"
FRAME = 512
RATE = 16000
SILENCE_MS = 300
CONFIG = {
    "streaming_vad_config": {"min_silence_duration_ms": SILENCE_MS},
    "streaming_params": {"enable_partial_transcripts": True, "partial_transcript_interval_s": 1.0},
    "whisper_params": {"show_word_timestamps": True},
}
KEY = "sandbox-key"


@dataclass(frozen=True)
class Result:
    """What one number of sessions at once came to; times in seconds."""

    sessions: int
    engine: str
    audio: float
    finals: int
    partials: int
    lag_median: float
    lag_worst: float
    overdue: float
    ratio: float
    load_before: float
    load_after: float


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


async def session(url: str, pcm: np.ndarray, start: float) -> dict[str, Any]:
    """Send a clip in real time from a moment on; answer when each final came."""
    loop = asyncio.get_running_loop()
    data = pcm.tobytes() + bytes(RATE)  # half a second of silence ends the last turn
    data += bytes(-len(data) % (2 * FRAME))
    lags: list[float] = []
    partials = 0
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.ws_connect(url) as ws,
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
                    lags.append(now - end - SILENCE_MS / 1000)
                else:
                    partials += 1
            elif message.get("body", {}).get("status") == "finished":
                break
        await talking
    audio = len(data) / 2 / RATE
    return {"lags": lags, "partials": partials, "audio": audio, "took": now}


async def measure(origin: str, engine: str, count: int, seconds: float) -> Result:
    url = f"{origin}/model-whisper1/environments/production/websocket"
    before = os.getloadavg()[0]
    said = [speech(index, seconds) for index in range(count)]
    start = asyncio.get_running_loop().time() + 0.5
    # Not all begin at once: nor do people.
    done = await asyncio.gather(
        *(session(url, pcm, start + index * 0.37) for index, pcm in enumerate(said))
    )
    lags = [lag for one in done for lag in one["lags"]]
    return Result(
        sessions=count,
        engine=engine,
        audio=round(sum(one["audio"] for one in done), 1),
        finals=len(lags),
        partials=sum(one["partials"] for one in done),
        lag_median=round(statistics.median(lags), 3),
        lag_worst=round(max(lags), 3),
        overdue=round(max(one["took"] - one["audio"] for one in done), 3),
        ratio=round(max(one["took"] / one["audio"] for one in done), 3),
        load_before=round(before, 2),
        load_after=round(os.getloadavg()[0], 2),
    )


async def run(options: argparse.Namespace) -> None:
    command = ["-m", "livekit.plugins.baseten_sandbox.cli", "--port", "0", "--no-view"]
    if options.moonshine:
        command.append("--moonshine")
    server = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE
    )
    began = time.monotonic()
    try:
        assert server.stdout is not None
        ready = (await asyncio.wait_for(server.stdout.readline(), 120)).decode()
        start_up = round(time.monotonic() - began, 2)
        origin = "ws" + ready.split()[2].removeprefix("http")
        engine = "moonshine" if options.moonshine else "whisper"
        print(f"{os.cpu_count()} cores; ready after {start_up} s")
        print("sessions  finals  partials  lag median  lag worst  overdue  real time  load")
        results = []
        for count in options.sessions:
            result = await measure(origin, engine, count, options.seconds)
            results.append(asdict(result))
            print(
                f"{result.sessions:8d}  {result.finals:6d}  {result.partials:8d}"
                f"  {result.lag_median:8.2f} s  {result.lag_worst:7.2f} s  {result.overdue:5.2f} s"
                f"  {result.ratio:9.3f}  {result.load_before:.1f}-{result.load_after:.1f}",
                flush=True,
            )
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()
    if options.json is not None:
        report = {"cores": os.cpu_count(), "ready": start_up, "results": results}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=30.0, help="of audio a session")
    parser.add_argument("--moonshine", action="store_true", help="Moonshine in place of Whisper")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
