"""Conversations over the page's WebSocket, with a browser that is a few lines of Python."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import Deployment, Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import read, silence, speak

RATE = 16000


class Browser:
    """Speaks the page's protocol; its loudspeaker is as fast as it is told to be."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, *, plays: bool = True) -> None:
        self.ws = ws
        self.plays = plays
        self.messages: list[dict[str, Any]] = []
        self.audio: dict[int, bytearray] = {}
        self.close_code: int | None = None
        self._segment = -1
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())
        self._microphone = asyncio.create_task(self._listen())
        self._speech: asyncio.Queue[bytes] = asyncio.Queue()

    async def _read(self) -> None:
        async for message in self.ws:
            if message.type is aiohttp.WSMsgType.BINARY:
                self.audio[self._segment] += message.data
            else:
                data = json.loads(message.data)
                self.messages.append(data)
                if data["type"] == "speech":
                    self._segment = data["segment"]
                    self.audio[self._segment] = bytearray()
                    await self.tell("started", segment=self._segment)
                elif data["type"] == "speech_end" and self.plays:
                    await self.finish(data["segment"])
                elif data["type"] == "clear" and not self.plays:
                    await self.tell("finished", segment=self._segment, position=0.2)
            async with self._changed:
                self._changed.notify_all()
        self.close_code = self.ws.close_code
        async with self._changed:
            self._changed.notify_all()

    async def _listen(self) -> None:
        # As a real page does, it sends silence while nobody speaks: the agent's clock is audio.
        with contextlib.suppress(ConnectionError):
            while not self.ws.closed:
                try:
                    pcm = self._speech.get_nowait()
                except asyncio.QueueEmpty:
                    pcm = bytes(RATE // 50 * 2)
                await self.ws.send_bytes(pcm)
                await asyncio.sleep(0.02)

    async def finish(self, segment: int) -> None:
        await self.tell("finished", segment=segment, position=len(self.audio[segment]) / 48000)

    async def tell(self, kind: str, **fields: Any) -> None:
        with contextlib.suppress(ConnectionError):
            await self.ws.send_json({"type": kind, **fields})

    def say(self, text: str) -> None:
        pcm, _ = speak(text)
        sound = np.concatenate([pcm, silence(0.5)]).astype("<i2").tobytes()
        step = RATE // 50 * 2
        for at in range(0, len(sound), step):
            self._speech.put_nowait(sound[at : at + step])

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    async def until(self, condition: Callable[[], Any], timeout: float = 20.0) -> Any:
        async def wait() -> Any:
            async with self._changed:
                while not (value := condition()):
                    if self._reader.done():
                        raise AssertionError(f"the connection ended; {self.messages}")
                    await self._changed.wait()
                return value

        try:
            return await asyncio.wait_for(wait(), timeout)
        except asyncio.TimeoutError:
            raise AssertionError(f"not in {timeout:g} s: {self.messages}") from None

    async def ended(self, timeout: float = 20.0) -> int | None:
        await asyncio.wait_for(asyncio.shield(self._reader), timeout)
        return self.close_code

    async def leave(self) -> None:
        await self.ws.close()
        self._microphone.cancel()
        await asyncio.gather(self._reader, self._microphone, return_exceptions=True)


@contextlib.asynccontextmanager
async def visit(
    sandbox: Sandbox, *, start: Any = None, plays: bool = True
) -> AsyncIterator[Browser]:
    headers = {"Origin": sandbox.origin}
    trust = None if sandbox.certificate is None else ssl.create_default_context()
    if trust is not None:
        trust.load_verify_locations(sandbox.certificate)
    connector = None if trust is None else aiohttp.TCPConnector(ssl=trust)
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.ws_connect(f"{sandbox.origin}/talk", headers=headers) as ws,
    ):
        await ws.send_json({"type": "start", "sample_rate": RATE} if start is None else start)
        browser = Browser(ws, plays=plays)
        try:
            yield browser
        finally:
            await browser.leave()


def agent_file(folder: Path, text: str) -> Path:
    path = folder / "my_agent.py"
    path.write_text(text)
    return path


QUIET_AGENT = """
from livekit.agents import Agent

class Quiet(Agent):
    def __init__(self):
        super().__init__(instructions="Be brief.")
"""

TALKATIVE_AGENT = """
from livekit.agents import Agent, AgentSession
from livekit.plugins import baseten

class Talkative(Agent):
    def __init__(self):
        super().__init__(instructions="Talk on.")

    async def on_enter(self):
        self.session.say("word " * 60)

def create_session():
    return AgentSession(
        llm=baseten.LLM(), tts=baseten.TTS(), stt=baseten.STT(),
        # Tones aren't speech to a voice detector: what the server hears interrupts.
        vad=None,
        turn_handling={"turn_detection": "stt", "interruption": {"mode": "vad"}},
        aec_warmup_duration=None,
    )
"""


@contextlib.asynccontextmanager
async def quiet_sandbox(tmp_path: Path, **options: Any) -> AsyncIterator[Sandbox]:
    """A sandbox whose agent doesn't greet."""
    async with Sandbox(
        transcriber="tones",
        synthesizer="tones",
        agent=agent_file(tmp_path, QUIET_AGENT),
        **options,
    ) as sandbox:
        yield sandbox


# --- conversations


async def test_a_conversation(tmp_path: Path) -> None:
    async with quiet_sandbox(tmp_path) as sandbox, visit(sandbox) as browser:
        await browser.until(lambda: browser.of("ready"))
        browser.say("please switch on all of the lights")
        (final,) = await browser.until(lambda: browser.of("final"))
        assert final["text"] == "please switch on all of the lights"
        assert any(final["text"].startswith(m["text"]) for m in browser.of("interim") if m["text"])
        (said,) = await browser.until(lambda: browser.of("said"))
        assert said["interrupted"] is False
        shown = "".join(message["text"] for message in browser.of("words"))
        assert shown.split() == said["text"].split()
        spoken = [
            word.text for audio in browser.audio.values() for word in read(bytes(audio), rate=24000)
        ]
        assert spoken == said["text"].split()

        turn = browser.of("turn")[-1]
        stages = {stage["stage"]: stage for stage in turn["stages"]}
        assert list(stages) == ["final", "turn_end", "first_token", "first_audio", "heard"]
        assert stages["final"]["end"] <= stages["turn_end"]["end"]
        assert stages["first_token"]["end"] <= stages["first_audio"]["end"]
        assert stages["first_audio"]["end"] <= stages["heard"]["end"]
        assert all(0 <= stage["start"] <= stage["end"] for stage in stages.values())
        assert turn["typed"] is False


async def test_a_conversation_over_tls(tmp_path: Path) -> None:
    # The agent's own connections trust the sandbox's certificate without any setting.
    before = dict(os.environ)
    async with quiet_sandbox(tmp_path, tls=True) as sandbox, visit(sandbox) as browser:
        await browser.until(lambda: browser.of("ready"))
        browser.say("good evening")
        (final,) = await browser.until(lambda: browser.of("final"))
        assert final["text"] == "good evening"
        await browser.until(lambda: browser.of("said"))
        assert not browser.of("problem")
    assert dict(os.environ) == before


async def test_the_built_in_agent_greets(sandbox: Sandbox) -> None:
    async with visit(sandbox) as browser:
        (said,) = await browser.until(lambda: browser.of("said"))
        assert said["text"].startswith("Hello!")
        assert not browser.of("turn")


async def test_typed_words_are_answered(tmp_path: Path) -> None:
    async with quiet_sandbox(tmp_path) as sandbox, visit(sandbox) as browser:
        await browser.until(lambda: browser.of("ready"))
        await browser.tell("text", text="hello there")
        await browser.until(lambda: browser.of("said"))
        assert browser.of("turn")[-1]["typed"] is True
        assert browser.of("turn")[-1]["stages"][-1]["stage"] == "heard"
        assert not browser.of("final")


async def test_an_interruption_silences_the_browser_at_once(sandbox: Sandbox) -> None:
    async with visit(sandbox, plays=False) as browser:
        await browser.until(lambda: len(browser.of("words")) >= 3)
        await browser.tell("interrupt")
        await browser.until(lambda: browser.of("clear"))
        heard = len(browser.audio[0])
        (said,) = await browser.until(lambda: browser.of("said"))
        assert said["interrupted"] is True
        assert said["text"].startswith("Hello!")
        assert not said["text"].endswith("about?")
        assert len(browser.audio[0]) == heard  # what was on its way was taken back


@pytest.mark.parametrize("ended", [True, False])
async def test_a_browser_that_silences_itself_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ended: bool
) -> None:
    """The page doesn't wait for the sandbox: what it played is known before the agent stops."""
    path = agent_file(tmp_path, TALKATIVE_AGENT)
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", agent=path) as sandbox,
        visit(sandbox, plays=False) as browser,
    ):
        await browser.until(lambda: len(browser.of("words")) >= 3)
        if ended:
            await browser.until(lambda: browser.of("speech_end"))
        await browser.tell("interrupt")
        await browser.tell("finished", segment=0, position=1.0)
        (said,) = await browser.until(lambda: browser.of("said"))
        assert said["interrupted"] is True
        assert 0 < len(said["text"].split()) < 60
        await browser.tell("text", text="go on")
        await browser.until(lambda: len(browser.of("speech")) == 2)
    complaints = [r for r in caplog.records if "synchronizer" in r.getMessage().lower()]
    assert not complaints


async def test_speech_interrupts_the_agent(tmp_path: Path) -> None:
    path = agent_file(tmp_path, TALKATIVE_AGENT)
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", agent=path) as sandbox,
        visit(sandbox, plays=False) as browser,
    ):
        await browser.until(lambda: len(browser.of("words")) >= 3)
        browser.say("stop talking right now please")
        await browser.until(lambda: browser.of("clear"))
        said = await browser.until(lambda: browser.of("said"))
        assert said[0]["interrupted"] is True


async def test_a_browser_that_never_says_what_it_played_blocks_nothing(tmp_path: Path) -> None:
    async with quiet_sandbox(tmp_path) as sandbox, visit(sandbox, plays=False) as browser:
        await browser.until(lambda: browser.of("ready"))
        await browser.tell("text", text="hello there")
        said = await browser.until(lambda: browser.of("said"), timeout=40)
        assert said[0]["interrupted"] is False


async def test_failures_of_a_model_are_shown(tmp_path: Path) -> None:
    async with quiet_sandbox(tmp_path) as sandbox, visit(sandbox) as browser:
        await browser.until(lambda: browser.of("ready"))
        broken = Deployment(id="orpheus1", serves="orpheus", state="deactivated")
        sandbox.deploy(broken)
        await browser.tell("text", text="hello there")
        (problem, *_) = await browser.until(lambda: browser.of("problem"))
        assert "404" in problem["text"] or "does not exist" in problem["text"]
        assert sandbox.api_key not in problem["text"]


async def test_a_lost_recognizer_is_reported_and_mended(tmp_path: Path) -> None:
    async with quiet_sandbox(tmp_path) as sandbox, visit(sandbox) as browser:
        await browser.until(lambda: browser.of("ready"))
        await sandbox.wait_sessions(1, deployment="whisper1")
        await sandbox.strike(Fault(do="reset"), deployment="whisper1")
        browser.say("are you still there")
        (final,) = await browser.until(lambda: browser.of("final"))
        assert final["text"] == "are you still there"


# --- the ends


@pytest.mark.parametrize(
    "start",
    [
        {"type": "hello"},
        {"type": "start"},
        {"type": "start", "sample_rate": "fast"},
        {"type": "start", "sample_rate": 10**9},
        [1, 2],
    ],
)
async def test_a_bad_start_is_refused(sandbox: Sandbox, start: Any) -> None:
    async with visit(sandbox, start=start) as browser:
        assert await browser.ended() == 1000
        (problem,) = browser.of("problem")
        assert problem["fatal"] is True


async def test_garbage_changes_nothing(tmp_path: Path) -> None:
    async with quiet_sandbox(tmp_path) as sandbox, visit(sandbox) as browser:
        await browser.until(lambda: browser.of("ready"))
        for text in ("", "{", "[]", '{"type": 7}', '{"type":"started"}', '{"type":"text"}'):
            await browser.ws.send_str(text)
        await browser.ws.send_bytes(b"")
        await browser.ws.send_bytes(b"\x01")
        await browser.tell("finished", segment=99, position="x")
        await browser.tell("text", text="hello there")
        await browser.until(lambda: browser.of("said"))


async def test_leaving_frees_everything(sandbox: Sandbox) -> None:
    before = asyncio.all_tasks()
    async with visit(sandbox, plays=False) as browser:
        await browser.until(lambda: browser.of("speech"))
        await sandbox.wait_for(lambda: sandbox.open_sockets)
    await sandbox.wait_for(lambda: not sandbox.open_sockets)
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    if left:
        await asyncio.wait(left, timeout=10)
    assert not {task for task in left if not task.done()}


async def test_the_sandbox_can_stop_meanwhile() -> None:
    async with contextlib.AsyncExitStack() as stack:
        sandbox = Sandbox(transcriber="tones", synthesizer="tones")
        await sandbox.start()
        browser = await stack.enter_async_context(visit(sandbox))
        await browser.until(lambda: browser.of("ready"))
        await asyncio.wait_for(sandbox.stop(), 15)
        assert await browser.ended() == 1001


async def test_a_fifth_conversation_is_refused(sandbox: Sandbox) -> None:
    headers = {"Origin": sandbox.origin}
    async with aiohttp.ClientSession(headers=headers) as http:
        held = [await http.ws_connect(f"{sandbox.origin}/talk") for _ in range(4)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{sandbox.origin}/talk")
        assert refused.value.status == 503
        for ws in held:
            await ws.close()


# --- the user's own agent


async def test_the_users_agent_file(tmp_path: Path) -> None:
    path = agent_file(
        tmp_path,
        """
from livekit.agents import Agent, AgentSession
from livekit.plugins import baseten

def create_session():
    return AgentSession(
        llm=baseten.LLM(), tts=baseten.TTS(), stt=baseten.STT(),
        turn_handling={"turn_detection": "stt"},
    )

class Parrot(Agent):
    async def on_enter(self):
        self.session.say("Polly")

def create_agent():
    return Parrot(instructions="Repeat.")
""",
    )
    async with Sandbox(transcriber="tones", synthesizer="tones", agent=path) as sandbox:
        async with visit(sandbox) as browser:
            (said,) = await browser.until(lambda: browser.of("said"))
            assert said["text"] == "Polly"
        path.write_text(path.read_text().replace("Polly", "Jack"))
        async with visit(sandbox) as browser:
            (said,) = await browser.until(lambda: browser.of("said"))
            assert said["text"] == "Jack"  # read anew for each conversation


DEPLOYED_AGENT = """
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli
from livekit.plugins import baseten

server = AgentServer()

@server.rtc_session()
async def entrypoint(ctx: JobContext):
    print("the agent's own words on its output")
    session = AgentSession(
        stt=baseten.STT(), llm=baseten.LLM(), tts=baseten.TTS(), vad=None,
        turn_handling={"turn_detection": "stt", "interruption": {"mode": "vad"}},
    )
    await session.start(agent=Agent(instructions="Be brief."), room=ctx.room)

if __name__ == "__main__":
    cli.run_app(server)
"""


@pytest.mark.timeout(120)
async def test_an_agent_as_it_is_deployed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "livekit.plugins.baseten_sandbox.agent")
    path = agent_file(tmp_path, DEPLOYED_AGENT)
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", agent=path) as sandbox,
        visit(sandbox) as browser,
    ):
        await browser.until(lambda: browser.of("ready"), timeout=60)
        await browser.until(lambda: {"type": "agent", "state": "listening"} in browser.messages)
        browser.say("lights on please")
        (final,) = await browser.until(lambda: browser.of("final"))
        assert final["text"] == "lights on please"
        (said,) = await browser.until(lambda: browser.of("said"))
        assert said["text"].startswith("You said")
        spoken = [
            word.text for audio in browser.audio.values() for word in read(bytes(audio), rate=24000)
        ]
        assert spoken == said["text"].split()
        stages = [stage["stage"] for stage in browser.of("turn")[-1]["stages"]]
        assert stages == ["final", "turn_end", "first_token", "first_audio", "heard"]
        await browser.tell("text", text="hello there")
        await browser.until(lambda: len(browser.of("said")) == 2)
        assert browser.of("turn")[-1]["typed"] is True
        assert not browser.of("problem")
    printed = [r.getMessage() for r in caplog.records if r.name.endswith("sandbox.agent")]
    assert "my_agent.py: the agent's own words on its output" in printed
    assert not any("lights on please" in line for line in printed)


@pytest.mark.timeout(120)
async def test_a_deployed_agent_that_fails_is_explained(tmp_path: Path) -> None:
    path = agent_file(tmp_path, DEPLOYED_AGENT.replace("server = AgentServer()", "AgentServer(1)"))
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", agent=path) as sandbox,
        visit(sandbox) as browser,
    ):
        await browser.ended(timeout=90)
        (problem,) = browser.of("problem")
        assert "my_agent.py ended" in problem["text"]
        assert "TypeError" in problem["text"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no subclass of Agent"),
        (QUIET_AGENT + QUIET_AGENT.replace("Quiet", "Other"), "several subclasses"),
        ("def create_agent(): return 7", "must return an Agent"),
        (QUIET_AGENT + "\ndef create_session(): return None", "must return an AgentSession"),
        ("1 / 0", "ZeroDivisionError"),
        ("import no_such_module_anywhere", "no_such_module_anywhere"),
    ],
)
async def test_a_bad_agent_file_is_explained(tmp_path: Path, text: str, words: str) -> None:
    path = agent_file(tmp_path, text)
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", agent=path) as sandbox,
        visit(sandbox) as browser,
    ):
        await browser.ended()
        (problem,) = browser.of("problem")
        assert words in problem["text"]
        assert problem["fatal"] is True


async def test_a_missing_agent_file_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.py"
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", agent=path) as sandbox,
        visit(sandbox) as browser,
    ):
        await browser.ended()
        assert "nowhere.py" in browser.of("problem")[0]["text"]


async def test_without_the_extra_the_page_says_what_to_install(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith("livekit.agents"):
            monkeypatch.setitem(sys.modules, name, None)
        elif name.endswith((".page.local", ".page.deployed", ".page.audio")):
            monkeypatch.delitem(sys.modules, name)
    async with visit(sandbox) as browser:
        await browser.ended()
        assert "[talk]" in browser.of("problem")[0]["text"]
