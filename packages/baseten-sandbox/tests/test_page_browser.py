"""The page in headless Chromium, with a fake microphone that plays human speech.

Chromium is driven over the DevTools protocol, see https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from livekit.plugins import baseten  # noqa: F401  (it takes seconds: not while the clip plays)
from livekit.plugins.baseten_sandbox import Sandbox

SPEECH = Path(__file__).parents[3] / "tests" / "speech"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="Chromium isn't installed (apt-get install chromium)"
    ),
]

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


class Tab:
    """One page of the browser."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.events: list[dict[str, Any]] = []
        self.loaded = asyncio.Event()
        self._ws = ws
        self._count = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._ws:
            data = json.loads(message.data)
            if "id" in data:
                self._waiting.pop(data["id"]).set_result(data)
                continue
            self.events.append(data)
            if data["method"] == "Page.loadEventFired":
                self.loaded.set()

    async def call(self, method: str, *, timeout: float = 30.0, **params: Any) -> dict[str, Any]:
        self._count += 1
        answer = self._waiting[self._count] = asyncio.get_running_loop().create_future()
        await self._ws.send_json({"id": self._count, "method": method, "params": params})
        data = await asyncio.wait_for(answer, timeout)
        assert "error" not in data, data
        result: dict[str, Any] = data["result"]
        return result

    async def run(self, script: str, *, timeout: float = 30.0) -> Any:
        """Run JavaScript; a promise is awaited."""
        result = await self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
            timeout=timeout,
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, condition: str, *, timeout: float = 40.0) -> Any:
        """Wait until an expression holds; it is looked at after each change of the page."""
        try:
            return await self.run(
                f"""new Promise((resolve) => {{
                    const look = () => {{
                        const value = ({condition});
                        if (value) {{ observer.disconnect(); resolve(value); }}
                    }};
                    const observer = new MutationObserver(look);
                    observer.observe(document, {{
                        subtree: true, childList: true, characterData: true, attributes: true,
                    }});
                    look();
                }})""",
                timeout=timeout,
            )
        except asyncio.TimeoutError:
            text = await self.run("document.body.innerText")
            raise AssertionError(
                f"{condition} isn't so after {timeout:g} s; on the page:\n{text}"
            ) from None

    async def picture(self, path: Path) -> bytes:
        result = await self.call("Page.captureScreenshot", format="png")
        data = base64.b64decode(result["data"])
        path.write_bytes(data)  # noqa: ASYNC240
        return data

    def complaints(self) -> list[str]:
        """Errors of scripts, and what the Content-Security-Policy refused."""
        found = []
        for event in self.events:
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(event["params"]["exceptionDetails"]))
            elif event["method"] == "Log.entryAdded":
                entry = event["params"]["entry"]
                if entry["level"] in ("error", "warning"):
                    found.append(entry["text"])
        return found

    def addresses(self) -> set[str]:
        """What the page asked for, but for what it holds itself."""
        urls = [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ] + [
            event["params"]["url"]
            for event in self.events
            if event["method"] == "Network.webSocketCreated"
        ]
        return {url for url in urls if not url.startswith(("data:", "blob:"))}

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


@contextlib.asynccontextmanager
async def chromium(url: str, folder: Path, *flags: str) -> AsyncIterator[Tab]:
    """Start Chromium with a profile of its own and open a page."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *FLAGS,
        *flags,
        f"--user-data-dir={folder / 'profile'}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    log: asyncio.Task[bytes] | None = None
    try:
        while True:
            line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
            assert line, "Chromium ended"
            if line.startswith("DevTools listening on ws://"):
                break
        log = asyncio.create_task(process.stderr.read())
        control = "http://" + line.split("ws://")[1].split("/")[0]
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{control}/json/list") as response:
                targets = await response.json(content_type=None)
            address = next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
            async with http.ws_connect(address, max_msg_size=0) as ws:
                tab = Tab(ws)
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await tab.call(f"{domain}.enable")
                await tab.call("Page.navigate", url=url)
                await asyncio.wait_for(tab.loaded.wait(), 30)
                try:
                    yield tab
                finally:
                    await tab.close()
    finally:
        process.terminate()
        await process.wait()
        if log is not None:
            await log


def recording(path: Path, *parts: float | str) -> Path:
    """A WAV of seconds of silence and clips of human speech."""
    data = b""
    for part in parts:
        if isinstance(part, str):
            with wave.open(str(SPEECH / f"librivox-{part}.wav")) as clip:
                data += clip.readframes(clip.getnframes())
        else:
            data += bytes(int(part * 16000) * 2)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(data)
    return path


@pytest.mark.models
@pytest.mark.timeout(180)
async def test_a_spoken_conversation(tmp_path: Path) -> None:
    # The second clip falls into the agent's answer to the first.
    clip = recording(tmp_path / "speech.wav", 12, "0880", 3, "0930", 30)
    async with Sandbox() as sandbox:
        await sandbox.load()
        flag = f"--use-file-for-fake-audio-capture={clip}%noloop"
        async with chromium(sandbox.origin + "/", tmp_path, flag) as tab:
            await tab.call(
                "Emulation.setDeviceMetricsOverride",
                width=1000,
                height=900,
                deviceScaleFactor=1,
                mobile=False,
            )
            await tab.run("call.click()")
            await tab.until("document.querySelector('.agent p')?.textContent.startsWith('Hello!')")
            await tab.until("document.querySelector('.you p')?.textContent.includes('young man')")
            label = await tab.until(
                "document.querySelector('svg .heard')?.closest('svg').getAttribute('aria-label')"
            )
            assert "first token at" in label
            assert await tab.run("document.querySelector('.you .interim').textContent") == ""
            light = await tab.picture(tmp_path / "light.png")

            # The listener speaks again: the agent falls silent, its line is marked, it answers anew.
            await tab.until(
                "document.querySelector('#log > li:last-child .you p')?.textContent.includes('amiable')"
            )
            await tab.until("document.querySelectorAll('figure svg .heard').length >= 2")
            await tab.until("bar.dataset.state === 'listening'")
            assert await tab.run("view.agent") is None
            lines = await tab.run(
                "[...document.querySelectorAll('.line p')].map((p) => p.innerText)"
            )
            assert len(lines) >= 5

            await tab.call(
                "Emulation.setEmulatedMedia",
                features=[{"name": "prefers-color-scheme", "value": "dark"}],
            )
            dark = await tab.picture(tmp_path / "dark.png")
            await tab.call(
                "Emulation.setDeviceMetricsOverride",
                width=360,
                height=740,
                deviceScaleFactor=2,
                mobile=True,
            )
            await tab.picture(tmp_path / "phone.png")
            assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
            assert light != dark

            await tab.run("call.click()")
            assert await tab.run("label.textContent") == "Not connected"
            await sandbox.wait_for(lambda: sandbox.open_sockets == 0, timeout=20)
            assert tab.complaints() == []
            host = sandbox.origin.removeprefix("http://")
            assert tab.addresses() == {f"http://{host}/", f"ws://{host}/talk"}


@pytest.mark.timeout(120)
async def test_typing_and_interrupting_without_a_microphone(tmp_path: Path) -> None:
    async with (
        Sandbox(transcriber="tones", synthesizer="tones") as sandbox,
        chromium(sandbox.origin + "/", tmp_path) as tab,
    ):
        await tab.run(
            "navigator.mediaDevices.getUserMedia ="
            " () => Promise.reject(new DOMException('no', 'NotAllowedError')); call.focus()"
        )
        for kind in ("keyDown", "keyUp"):  # all of it works from the keyboard
            await tab.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Enter",
                code="Enter",
                text="\r",
                windowsVirtualKeyCode=13,
            )
        await tab.until("document.querySelectorAll('.agent p')[0]?.textContent.length > 8")
        await tab.call(
            "Input.dispatchKeyEvent",
            type="keyDown",
            key="Escape",
            code="Escape",
            windowsVirtualKeyCode=27,
        )
        await tab.until(
            "document.querySelector('.agent .note')?.textContent.includes('interrupted')"
        )

        await tab.run("words.focus()")
        await tab.call("Input.insertText", text="hello there")
        await tab.run("$('type').requestSubmit()")
        await tab.until("document.querySelector('.you p')?.textContent === 'hello there'")
        await tab.until("/^Agent: [^(]*$/.test($('announce').textContent)")
        assert await tab.run("document.querySelectorAll('.agent p').length") == 2
        for kind, text in (
            ("interim", "good"),
            ("interim", "good mourning"),
            ("final", "Good morning."),
        ):
            message = json.dumps({"type": kind, "text": text})
            await tab.run(f"receive(talk, {json.dumps(message)})")
            shown = await tab.run("[...document.querySelectorAll('.you p')].at(-1).textContent")
            unsure = await tab.run("[...document.querySelectorAll('.interim')].at(-1).textContent")
            assert (shown, unsure) == (text, text if kind == "interim" else "")
        assert "after you sent it" in await tab.run(
            "document.querySelector('figcaption').textContent"
        )
        assert "may not use the microphone" in await tab.run("$('problems').textContent")
        assert tab.complaints() == []


@pytest.mark.timeout(120)
async def test_the_end_of_the_sandbox_is_told(tmp_path: Path) -> None:
    sandbox = Sandbox(transcriber="tones", synthesizer="tones")
    await sandbox.start()
    try:
        async with chromium(sandbox.origin + "/", tmp_path) as tab:
            await tab.run("call.click()")
            await tab.until("bar.dataset.state === 'speaking'")
            await sandbox.stop()
            await tab.until("$('problems').textContent.includes('ended the conversation')")
            assert await tab.run("bar.dataset.state") == "off"
            await tab.run("call.click()")
            await tab.until("$('problems').textContent.includes('answer')")
    finally:
        await sandbox.stop()


async def test_every_control_has_a_name(tmp_path: Path) -> None:
    async with (
        Sandbox(transcriber="tones", synthesizer="tones") as sandbox,
        chromium(sandbox.origin + "/", tmp_path) as tab,
    ):
        await tab.call("Accessibility.enable")
        tree = await tab.call("Accessibility.getFullAXTree")
        for node in tree["nodes"]:
            if node.get("role", {}).get("value") in ("button", "textbox", "list"):
                assert node["name"]["value"], node
