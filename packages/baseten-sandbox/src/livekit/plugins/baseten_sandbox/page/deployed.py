"""The user's agent just as they deploy it: in a process of its own, without a room.

LiveKit's command line can run an agent's file on a *console*: the agent connects to a TCP port and
exchanges `AgentSessionMessage` protobufs, each behind its length as four bytes, big-endian. Audio
is mono PCM s16le at 48 kHz both ways. The page stands at the other end of it.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import logging
import os
import re
import struct
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.protocol.agent_pb import agent_session as agent_pb

from .audio import SPEAKER_RATE
from .link import Link
from .partner import Partner

__all__ = ["DeployedAgent", "is_deployed"]

logger = logging.getLogger("livekit.plugins.baseten_sandbox.agent")

_CONSOLE_RATE = 48000
_CONNECT_TIMEOUT = 60.0
_STOP_TIMEOUT = 10.0
_LARGEST = 1 << 20
_ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|\r")
# The console makes LiveKit tell of its every step; the agent's own words would drown in that.
_FRAMEWORK = re.compile(r"\S+\s+(DEBUG\s|INFO\s+livekit\.agents\s)")
_SERVERS = {"AgentServer", "WorkerOptions"}

_Message = agent_pb.AgentSessionMessage


def is_deployed(path: Path) -> bool:
    """Whether a file makes an agent server, as one that is deployed to LiveKit does."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    return any(
        (isinstance(node, ast.Name) and node.id in _SERVERS)
        or (isinstance(node, ast.Attribute) and node.attr in _SERVERS)
        for node in ast.walk(tree)
    )


class DeployedAgent(Partner):
    """One conversation with an agent that runs in a process of its own.

    Args:
        path: The agent's file.
        environ: See :class:`.Partner`; on top of this process' own variables.
        link: See :class:`.Partner`.
        problem: See :class:`.Partner`.
    """

    def __init__(
        self,
        path: Path,
        *,
        environ: Mapping[str, str],
        link: Link,
        problem: Callable[[str], None],
    ) -> None:
        super().__init__(environ=environ, link=link, problem=problem)
        self._path = path
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._speaker.on("playback_finished", self._on_playback_finished)
        self._down = rtc.AudioResampler(_CONSOLE_RATE, SPEAKER_RATE, num_channels=1)
        self._up: rtc.AudioResampler | None = None
        self._rate = _CONSOLE_RATE
        self._last_line = ""

    async def run(self, rate: int, listen: Callable[[], Coroutine[None, None, None]]) -> None:
        """See :meth:`.Partner.run`."""
        self._rate = rate
        if rate != _CONSOLE_RATE:
            self._up = rtc.AudioResampler(rate, _CONSOLE_RATE, num_channels=1)
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "livekit.agents", "console", str(self._path.resolve())),
            *("--connect-addr", f"127.0.0.1:{port}"),
            env={**os.environ, **self._environ, "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # LiveKit ends its whole process group when it is told to stop twice.
            start_new_session=True,
        )
        tasks = [
            asyncio.create_task(self._connected.wait()),
            asyncio.create_task(self._follow(process)),
            asyncio.create_task(listen()),
        ]
        try:
            await asyncio.wait(tasks, timeout=_CONNECT_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
            if self._connected.is_set():
                self._link.send("ready")
                await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
            elif not any(task.done() for task in tasks):
                self._problem(f"{self._path.name} didn't connect within {_CONNECT_TIMEOUT:g} s")
            if tasks[1].done():
                self._problem(
                    f"{self._path.name} ended (status {process.returncode}): {self._last_line}"
                )
        finally:
            self._speaker.end()
            listener.close()
            await _stop(process)
            if self._writer is not None:
                self._writer.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError):  # a line beyond asyncio's limit
            async for raw in process.stdout:
                line = _ESCAPES.sub("", raw.decode(errors="replace")).strip()
                if line and not _FRAMEWORK.match(line):
                    self._last_line = line
                    logger.info("%s: %s", self._path.name, line)
        await process.wait()

    # --- from the browser

    def push(self, pcm: bytes) -> None:
        """Pass the microphone on."""
        samples = len(pcm) // 2
        if self._writer is None or not samples:
            return
        frame = rtc.AudioFrame(pcm[: samples * 2], self._rate, 1, samples)
        for ready in self._up.push(frame) if self._up else [frame]:
            audio = _Message.ConsoleIO.AudioFrame(
                data=bytes(ready.data),
                sample_rate=_CONSOLE_RATE,
                num_channels=1,
                samples_per_channel=ready.samples_per_channel,
            )
            self._send(_Message(audio_input=audio))

    def interrupt(self) -> None:
        """The console has no word for it: the browser's own silence must do."""

    def type(self, text: str) -> None:
        """Pass typed words on."""
        request = agent_pb.SessionRequest(
            request_id=f"page-{time.monotonic_ns()}",
            run_input=agent_pb.SessionRequest.RunInput(text=text),
        )
        self._send(_Message(request=request))

    # --- from the agent

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            writer.close()
            return
        self._writer = writer
        self._connected.set()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (size,) = struct.unpack(">I", await reader.readexactly(4))
                if size > _LARGEST:
                    break
                await self._take(_Message.FromString(await reader.readexactly(size)))
        writer.close()

    async def _take(self, message: _Message) -> None:
        kind = message.WhichOneof("message")
        if kind == "audio_output":
            audio = message.audio_output
            frame = rtc.AudioFrame(
                audio.data, audio.sample_rate, audio.num_channels, audio.samples_per_channel
            )
            for ready in self._down.push(frame):
                await self._speaker.capture_frame(ready)
        elif kind == "audio_playback_flush":
            for ready in self._down.flush():
                await self._speaker.capture_frame(ready)
            self._speaker.flush()
        elif kind == "audio_playback_clear":
            self._speaker.clear_buffer()
        elif kind == "event":
            self._tell(message.event)

    def _tell(self, event: agent_pb.AgentSessionEvent) -> None:
        kind = event.WhichOneof("event")
        at = event.created_at.ToNanoseconds() / 1e9
        if kind == "agent_state_changed":
            state = agent_pb.AgentState.Name(event.agent_state_changed.new_state)
            self._link.send("agent", state=state.removeprefix("AS_").lower())
        elif kind == "user_state_changed":
            state = agent_pb.UserState.Name(event.user_state_changed.new_state)
            self._link.send("user", state=state.removeprefix("US_").lower())
        elif kind == "user_input_transcribed":
            heard = event.user_input_transcribed
            if heard.is_final:
                self._turns.final(at)
            self._link.send("final" if heard.is_final else "interim", text=heard.transcript)
        elif kind == "conversation_item_added":
            if event.conversation_item_added.item.HasField("message"):
                self._tell_message(event.conversation_item_added.item.message, at)
        elif kind == "function_tools_executed":
            names = [call.name for call in event.function_tools_executed.function_calls]
            self._link.send("tool", names=names)
        elif kind == "error":
            self._link.send("problem", text=event.error.message, fatal=False, retried=False)

    def _tell_message(self, message: agent_pb.ChatMessage, at: float) -> None:
        metrics = message.metrics
        if message.role == agent_pb.ChatRole.USER:
            spoken = metrics.HasField("stopped_speaking_at")
            end = metrics.stopped_speaking_at.ToNanoseconds() / 1e9 if spoken else None
            self._show(self._turns.committed(at, speech_end=end))
        elif message.role == agent_pb.ChatRole.ASSISTANT:
            if metrics.HasField("llm_node_ttft") and metrics.HasField("tts_node_ttfb"):
                self._show(self._turns.answered(metrics.llm_node_ttft, metrics.tts_node_ttfb))
            text = " ".join(part.text for part in message.content).strip()
            self._link.send("said", text=text, interrupted=message.interrupted)

    def _on_playback_finished(self, event: Any) -> None:
        if not event.interrupted:
            finished = _Message.ConsoleIO.AudioPlaybackFinished()
            self._send(_Message(audio_playback_finished=finished))

    def _send(self, message: _Message) -> None:
        if self._writer is None or self._writer.is_closing():
            return
        data = message.SerializeToString()
        self._writer.write(struct.pack(">I", len(data)) + data)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask the agent to end, then end it."""
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_TIMEOUT)
    except asyncio.TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
