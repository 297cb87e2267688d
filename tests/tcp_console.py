"""The far end of LiveKit's TCP console: a microphone and a loudspeaker for an agent without a room."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import struct
import sys
import time
import wave
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from livekit.protocol.agent_pb import agent_session as agent_pb

__all__ = ["RATE", "Console", "read_wav", "run_agent"]

RATE = 48000
_FRAME = RATE // 50
_T = TypeVar("_T")


def read_wav(path: Path) -> tuple[NDArray[np.int16], int]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


class Console:
    """What an agent heard and said, and the means to say more to it.

    Attributes:
        transcripts: Final transcripts of the user's speech.
        items: The conversation's messages and changes.
        calls: Names of the tools that were called.
        errors: Errors that the session reported.
        speeches: What came out of the loudspeaker, one piece a speech, at `RATE`.
        output: What the agent's process has printed.
    """

    def __init__(self) -> None:
        self.transcripts: list[str] = []
        self.items: list[agent_pb.ChatContext.ChatItem] = []
        self.calls: list[str] = []
        self.errors: list[str] = []
        self.speeches: list[NDArray[np.int16]] = []
        self.output = ""
        self._hearing = bytearray()
        self._saying = bytearray()
        self._changed = asyncio.Condition()

    def say(self, pcm: NDArray[np.int16], rate: int) -> None:
        """Speak into the microphone, which passes it on at the pace of live speech."""
        at = np.arange(0, len(pcm) - 1, rate / RATE)
        self._saying += np.interp(at, np.arange(len(pcm)), pcm).astype("<i2").tobytes()

    async def wait_for(self, condition: Callable[[], _T], *, timeout: float = 60.0) -> _T:
        """Wait until a condition over what was heard and said holds, and give what it found."""

        async def wait() -> _T:
            async with self._changed:
                await self._changed.wait_for(condition)
            return condition()

        try:
            return await asyncio.wait_for(wait(), timeout)
        except asyncio.TimeoutError:
            raise AssertionError(
                f"it didn't happen within {timeout:g} s; the agent printed:\n{self.output}"
            ) from None

    def messages(self, role: str) -> list[str]:
        """The texts of the conversation's messages by `role`."""
        wanted = agent_pb.ChatRole.Value(role.upper())
        return [
            " ".join(part.text for part in item.message.content).strip()
            for item in self.items
            if item.HasField("message") and item.message.role == wanted
        ]

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the agent's connection until it ends."""
        microphone = asyncio.create_task(self._speak(writer))
        try:
            while True:
                size = struct.unpack(">I", await reader.readexactly(4))[0]
                message = agent_pb.AgentSessionMessage.FromString(await reader.readexactly(size))
                async with self._changed:
                    await self._receive(message, writer)
                    self._changed.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            microphone.cancel()
            writer.close()

    async def _receive(
        self, message: agent_pb.AgentSessionMessage, writer: asyncio.StreamWriter
    ) -> None:
        match message.WhichOneof("message"):
            case "audio_output":
                self._hearing += message.audio_output.data
            case "audio_playback_clear":
                self._heard()
            case "audio_playback_flush":
                self._heard()
                done = agent_pb.AgentSessionMessage.ConsoleIO.AudioPlaybackFinished()
                _write(writer, agent_pb.AgentSessionMessage(audio_playback_finished=done))
            case "event":
                self._note(message.event)

    def _heard(self) -> None:
        if self._hearing:
            self.speeches.append(np.frombuffer(bytes(self._hearing), "<i2"))
            self._hearing.clear()

    def _note(self, event: agent_pb.AgentSessionEvent) -> None:
        match event.WhichOneof("event"):
            case "user_input_transcribed" if event.user_input_transcribed.is_final:
                self.transcripts.append(event.user_input_transcribed.transcript)
            case "conversation_item_added":
                self.items.append(event.conversation_item_added.item)
            case "function_tools_executed":
                self.calls += [c.name for c in event.function_tools_executed.function_calls]
            case "error":
                self.errors.append(event.error.message)

    async def _speak(self, writer: asyncio.StreamWriter) -> None:
        due = time.monotonic()
        while not writer.is_closing():
            samples = bytes(self._saying[: _FRAME * 2])
            del self._saying[: _FRAME * 2]
            frame = agent_pb.AgentSessionMessage.ConsoleIO.AudioFrame(
                data=samples.ljust(_FRAME * 2, b"\0"),
                sample_rate=RATE,
                num_channels=1,
                samples_per_channel=_FRAME,
            )
            _write(writer, agent_pb.AgentSessionMessage(audio_input=frame))
            due += _FRAME / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))


def _write(writer: asyncio.StreamWriter, message: agent_pb.AgentSessionMessage) -> None:
    data = message.SerializeToString()
    writer.write(struct.pack(">I", len(data)) + data)


@contextlib.asynccontextmanager
async def run_agent(*command: str | Path, environment: Mapping[str, str]) -> AsyncIterator[Console]:
    """Run an agent's process on a console, and see that it ends well.

    Args:
        *command: Arguments of the interpreter; the console's address is added.
        environment: Its whole environment.
    """
    console = Console()
    listener = await asyncio.start_server(console.connected, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, command),
        "--connect-addr",
        f"127.0.0.1:{port}",
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # An agent that is told to stop twice kills its whole process group.
        start_new_session=True,
    )

    async def read_output() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            console.output += line.decode(errors="replace")

    output = asyncio.create_task(read_output())
    try:
        yield console
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 50) == 0, console.output
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await output
        listener.close()
        await listener.wait_closed()
