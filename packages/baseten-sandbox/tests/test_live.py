"""The view in the terminal: what it tells of the sessions, in place and line by line."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import pty
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable

import aiohttp
import numpy as np
import pytest
from hypothesis import given, strategies as st

from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.activity import printable
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak
from livekit.plugins.baseten_sandbox.live import LiveView, _cut, _width

ESCAPES = re.compile(r"\x1b\[\??\d*[A-Za-z]")


class Terminal(io.StringIO):
    """A terminal just as good as the view needs: cursor up, erase, colours."""

    def __init__(self) -> None:
        super().__init__()
        self._written = asyncio.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._written.set()
        return super().write(text)

    async def until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():
                self._written.clear()
                await self._written.wait()

        await asyncio.wait_for(wait(), 20)

    @property
    def screen(self) -> list[str]:
        lines = [""]
        for part in re.split(r"(\x1b\[\??\d*[A-Za-z]|\n|\r)", self.getvalue()):
            if part == "\n":
                lines.append("")
            elif part == "\r" or (part.startswith("\x1b") and part[-1] in "mhl"):
                continue
            elif part.startswith("\x1b") and part.endswith("A"):
                del lines[len(lines) - int(part[2:-1]) :]
            elif part == "\x1b[J":
                lines[-1] = ""
            else:
                lines[-1] += part
        return lines


@contextlib.asynccontextmanager
async def caller(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        yield http


async def transcribe(http: aiohttp.ClientSession, sandbox: Sandbox, text: str) -> None:
    async with http.ws_connect(sandbox.stt_endpoint) as ws:
        await ws.send_json({})
        sound = np.concatenate([speak(text)[0], silence(0.6)]).astype("<i2").tobytes()
        for at in range(0, len(sound) - 1023, 1024):
            await ws.send_bytes(sound[at : at + 1024])
        async for message in ws:
            if '"is_final": true' in message.data:
                return


async def test_lines_for_what_is_no_terminal(sandbox: Sandbox) -> None:
    out = io.StringIO()
    async with LiveView(sandbox, stream=out), caller(sandbox) as http:
        await transcribe(http, sandbox, "good morning")
        body = {"prompt": "How are you today?"}
        async with http.post(sandbox.tts_endpoint, json=body) as response:
            await response.read()
        chat = {
            "model": "openai/gpt-oss-120b",
            "messages": [{"role": "user", "content": "hello"}],
            "stream": True,
        }
        async with http.post(f"{sandbox.llm_base_url}/chat/completions", json=chat) as response:
            assert response.status == 200
            await response.read()
        sandbox.faults.add(Fault(do="status", status=503))
        async with http.post(sandbox.tts_endpoint, json=body) as response:
            assert response.status == 503
        await sandbox.wait_sessions(4, closed=True)
    assert "\x1b" not in out.getvalue()

    def told(number: int, event: str) -> list[str]:
        return re.findall(rf"^\S+ #{number} \S+ {event}: (.*)$", out.getvalue(), re.MULTILINE)

    assert told(0, "heard")[-1] == "good morning"
    assert told(0, "closed")[0].startswith("closed 1000")
    assert told(1, "spoke") == ["How are you today?"]
    assert len(told(2, "answered")) == 1
    assert len(told(2, "answered")[0].split()) > 2
    assert told(3, "fault") == ["status"]
    assert told(3, "closed")[0].startswith("fault: status")
    assert sandbox.api_key not in out.getvalue()


async def test_orpheus_and_qwen_speech_is_told(sandbox: Sandbox) -> None:
    out = io.StringIO()
    async with LiveView(sandbox, stream=out), caller(sandbox) as http:
        async with http.ws_connect(sandbox.tts_websocket_endpoint) as ws:
            await ws.send_json({"voice": "tara", "max_tokens": 2000})
            for word in ("One", "fine", "day.", "__END__"):
                await ws.send_str(word)
            async for _ in ws:
                pass
        await sandbox.wait_sessions(1, closed=True)
        async with http.ws_connect(sandbox.qwen_tts_endpoint) as ws:
            await ws.send_json({"type": "session.config", "voice": "aiden"})
            await ws.send_json({"type": "input.text", "text": "Two more."})
            await ws.send_json({"type": "input.done"})
            async for message in ws:
                if message.type is aiohttp.WSMsgType.TEXT and "session.done" in message.data:
                    break
        await sandbox.wait_sessions(2, closed=True)
    assert "spoke: One fine day." in out.getvalue()
    assert "spoke: Two more." in out.getvalue()


async def test_a_terminal_is_drawn_in_place(sandbox: Sandbox) -> None:
    terminal = Terminal()
    async with LiveView(sandbox, stream=terminal), caller(sandbox) as http:
        await terminal.until(
            lambda: "waiting for the first caller" in "".join(terminal.screen[-2:-1])
        )
        async with http.ws_connect(sandbox.stt_endpoint) as ws:
            await terminal.until(lambda: any("1 open" in line for line in terminal.screen))
            await sandbox.strike(Fault(do="close", code=1013))
            await ws.receive()
        await terminal.until(lambda: any("fault: close" in line for line in terminal.screen))
        screen = terminal.screen
        assert sum("whisper1" in line for line in screen) == 1
        assert not any("waiting" in line for line in screen)
        assert any("1 faults injected" in line for line in screen)
    assert terminal.getvalue().endswith("\x1b[?25h")  # the cursor is back


async def test_log_records_go_above(sandbox: Sandbox) -> None:
    terminal = Terminal()
    async with LiveView(sandbox, stream=terminal):
        await terminal.until(lambda: "waiting" in terminal.getvalue())
        logging.getLogger("somewhere").warning("look \x1b[2Jout")
        await terminal.until(lambda: "look" in terminal.getvalue())
        screen = terminal.screen
    assert [line for line in screen if "look" in line] == ["WARNING somewhere: look out"]
    assert sum("waiting" in line for line in screen) == 1
    assert screen.index("WARNING somewhere: look out") < len(screen) - 2


async def test_log_records_stand_between_the_lines(sandbox: Sandbox) -> None:
    out = Terminal()
    out.isatty = lambda: False  # type: ignore[method-assign]
    async with LiveView(sandbox, stream=out):
        logging.getLogger("somewhere").warning("look out")
        await out.until(lambda: "look" in out.getvalue())
    assert out.getvalue() == "WARNING somewhere: look out\n"
    assert "_LogAbove" not in repr(logging.getLogger().handlers)


async def test_callers_cant_command_the_terminal(sandbox: Sandbox) -> None:
    terminal, plain = Terminal(), io.StringIO()
    text = "a\x1b]0;owned\x07b\x9b31mc\r\nd\u202e"
    async with (
        LiveView(sandbox, stream=terminal),
        LiveView(sandbox, stream=plain),
        caller(sandbox) as http,
    ):
        async with http.post(sandbox.tts_endpoint, json={"prompt": text}) as response:
            await response.read()
        await terminal.until(lambda: "owned" in terminal.getvalue())
    for out in (ESCAPES.sub("", terminal.getvalue()), plain.getvalue()):
        assert not set(out) & set("\x1b\x07\x9b\u202e")


async def test_a_closed_pipe_is_no_harm(sandbox: Sandbox) -> None:
    out = io.StringIO()
    async with LiveView(sandbox, stream=out), caller(sandbox) as http:
        out.close()
        async with http.post(sandbox.tts_endpoint, json={"prompt": "hello"}) as response:
            assert response.status == 200
            assert await response.read()


@given(st.text(), st.integers(0, 40))
def test_what_is_cut_fits(text: str, width: int) -> None:
    shown = _cut(printable(text), width)
    assert _width(shown) <= width
    assert shown == printable(text) or shown.endswith("…") or width == 0


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
async def test_the_command_in_a_terminal() -> None:
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "livekit.plugins.baseten_sandbox",
        "--tones",
        "--port",
        "0",
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
    )
    os.close(theirs)
    loop = asyncio.get_running_loop()
    seen = bytearray()

    async def read_until(words: str) -> None:
        while words.encode() not in seen:
            seen.extend(await loop.run_in_executor(None, os.read, ours, 65536))

    try:
        await asyncio.wait_for(read_until("waiting for the first caller"), 40)
        (origin,) = re.findall(rb"Talk to an agent: (http://\S+)/", bytes(seen))
        url = f"{origin.decode()}/model-orpheus1/production/predict"
        headers = {"Authorization": "Bearer sandbox-key"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.post(url, json={"prompt": "seen from outside"}) as response,
        ):
            await response.read()
        await asyncio.wait_for(read_until("seen from outside"), 20)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(read_until("\x1b[?25h"), 20)
        assert await asyncio.wait_for(process.wait(), 50) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
