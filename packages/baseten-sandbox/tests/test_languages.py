"""Voices for other languages than English."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import aiohttp
import numpy as np
import pytest

from livekit.plugins.baseten_sandbox import Sandbox

HERE = importlib.util.find_spec("py_nanotts") is not None
installed = pytest.mark.skipif(not HERE, reason="the extra isn't installed")


class Asked:
    """Says nothing that can be heard; notes the voices."""

    languages = frozenset({"de"})

    def __init__(self) -> None:
        self.voices: list[str | None] = []

    def load(self) -> None: ...

    def synthesize(self, text: str, *, voice: str | None) -> Iterator[np.ndarray]:
        self.voices.append(voice)
        yield np.zeros(2400, np.int16)


@pytest.mark.parametrize(
    ("config", "voice"),
    [
        ({"voice": "vivian", "language": "German"}, "de-vivian"),
        ({"language": "German"}, "de"),
        ({"voice": "vivian", "language": "Auto"}, "vivian"),
        ({"voice": "vivian", "language": "French"}, "vivian"),
        ({"voice": "vivian"}, "vivian"),
    ],
)
async def test_a_session_s_language_goes_in_front_of_the_voice(
    config: dict[str, str], voice: str, client: aiohttp.ClientSession
) -> None:
    engine = Asked()
    async with (
        Sandbox(transcriber="tones", synthesizer=engine) as sandbox,
        client.ws_connect(sandbox.qwen_tts_endpoint) as ws,
    ):
        await ws.send_json({"type": "session.config", "response_format": "pcm", **config})
        await ws.send_json({"type": "input.text", "text": "Guten Tag."})
        await ws.send_json({"type": "input.done"})
        while (message := await ws.receive(timeout=10)).type in (
            aiohttp.WSMsgType.TEXT,
            aiohttp.WSMsgType.BINARY,
        ):
            if '"session.done"' in str(message.data):
                break
    assert engine.voices == [voice]


@pytest.mark.skipif(HERE, reason="the extra is installed")
async def test_without_its_extra_it_tells_how_to_get_it() -> None:
    async with Sandbox(transcriber="tones", synthesizer="polyglot") as sandbox:
        with pytest.raises(ImportError, match=r"livekit-plugins-baseten-sandbox\[languages\]"):
            await sandbox.load()


@installed
@pytest.mark.models
async def test_each_language_is_spoken_and_each_voice_is_another(
    client: aiohttp.ClientSession,
) -> None:
    texts = {
        "de": "Guten Morgen. Wie geht es Ihnen?",
        "es-ES": "Buenos días. ¿Cómo está usted?",
        "fr_FR": "Bonjour. Comment allez-vous ?",
        "it-IT-sara": "Buongiorno. Come sta?",
        "en-GB": "Good morning. How are you?",
        "tara": "Good morning. How are you?",
    }
    async with Sandbox(transcriber="tones", synthesizer="polyglot") as sandbox:

        async def spoken(text: str, voice: str) -> np.ndarray:
            body = {"prompt": text, "voice": voice}
            async with client.post(sandbox.tts_endpoint, json=body) as answer:
                assert answer.status == 200
                return np.frombuffer(await answer.read(), dtype="<i2")

        for voice, text in texts.items():
            pcm = await spoken(text, voice)
            assert 1.0 < len(pcm) / 24000 < 6.0, voice
            assert np.abs(pcm.astype(float)).max() > 2000, voice
        british, american = [await spoken(texts["tara"], voice) for voice in ("en-GB", "tara")]
        assert len(british) != len(american)
        # Angle brackets are no markup here, and what can't be said is left out.
        assert len(await spoken("Hallo <volume level='0'> Welt", "de")) > 12000
        assert len(await spoken("... !", "de")) == 0
