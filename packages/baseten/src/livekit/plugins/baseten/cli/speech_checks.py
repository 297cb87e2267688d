"""The checks of speech: TTS says a sentence, and STT hears it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from livekit.agents import APIConnectOptions, APIError, APITimeoutError
from livekit.plugins.baseten_common import Endpoint
from livekit.plugins.baseten_stt import STT
from livekit.plugins.baseten_tts import TTS

from . import probes
from .components import Part
from .examination import Finding
from .probes import Spoken
from .reach import LONGEST, STEPS, Reach, milliseconds, woken

__all__ = ["SpeechChecks"]

_SIGN = 5.0  # seconds within which a health check is answered
_SILENT = 1.0  # seconds in which a server without health checks would refuse
_ALIKE = 0.6


class SpeechChecks:
    """Checks speech-to-text and text-to-speech."""

    def __init__(
        self,
        reach: Reach,
        *,
        text: str,
        recording: tuple[bytes, int] | None,
        demanded: Sequence[Part],
    ) -> None:
        """Take what is to be said.

        Args:
            reach: What the checks are made with.
            text: The sentence.
            recording: What to hear in place of it: 16-bit mono audio and its sample rate in Hz.
            demanded: The parts that must be set up.
        """
        self._reach = reach
        self._exam = reach.exam
        self._text = text
        self._recording = recording
        self._demanded = demanded
        self._spoken: Spoken | None = None
        # A retry would hide what is looked for.
        self._once = APIConnectOptions(max_retry=0, timeout=reach.timeout)

    async def run(self, parts: Sequence[Part]) -> None:
        """Check the parts named."""
        stt = await self._ready_stt() if "STT" in parts else None
        try:
            if "TTS" in parts:
                await self._tts()
            if stt is not None:
                await self._hearing(stt)
        finally:
            if stt is not None:
                await stt.aclose()

    async def _endpoint(self, part: Literal["STT", "TTS"]) -> Endpoint | None:
        components = self._reach.components
        try:
            missing = components.endpoint(part) is None
        except ValueError:
            missing = False
        if missing:
            self._exam.note(
                part,
                "URL",
                "failed" if part in self._demanded else "skipped",
                "not set up",
                f"Set BASETEN_{part}_MODEL_ID to the id in the deployment's URL, or "
                f"BASETEN_{part}_MODEL_ENDPOINT to the whole of it.",
                steps=len(STEPS[part]),
            )
            return None

        async def named() -> Finding[Endpoint]:
            endpoint = components.endpoint(part)
            assert endpoint is not None
            if self._exam.key is not None:
                # It checks more than the URL.
                await (components.stt() if part == "STT" else components.tts()).aclose()
            return Finding(str(endpoint), endpoint)

        within = self._reach.timeout
        endpoint = await self._exam.check(part, "URL", named, within=within, timed=False)
        if endpoint is None:
            self._reach.skip(part, "URL")
        return endpoint

    async def _ready_stt(self) -> STT | None:
        endpoint = await self._endpoint("STT")
        if endpoint is None:
            return None
        if not await self._reach.network("STT", endpoint.websocket_urls()[0]):
            return None
        ws = await self._reach.handshake("STT", endpoint)
        if ws is None:
            return None
        stt = self._reach.components.stt()

        async def configured() -> Finding[bool]:
            has_checks = stt.model == "whisper"
            limit = min(_SIGN, self._reach.timeout) if has_checks else _SILENT
            try:
                await probes.configure(stt, ws, timeout=limit)
            except APITimeoutError:
                if not has_checks:
                    return Finding("not refused; the protocol has no health check", True)
                return Finding(
                    "the health check isn't answered",
                    True,
                    "warning",
                    "Its runtime is old, or it isn't Whisper: hearing tells which.",
                )
            return Finding(f"accepted for {stt.model}", True)

        try:
            fine = await self._exam.check("STT", "configuration", configured, within=LONGEST)
        finally:
            await ws.close()
        if fine:
            return stt
        self._reach.skip("STT", "configuration")
        await stt.aclose()
        return None

    async def _hearing(self, stt: STT) -> None:
        async def hear() -> Finding[bool]:
            pcm, rate, said = b"", 16000, ""
            if self._recording is not None:
                pcm, rate = self._recording
            elif self._spoken is not None:
                pcm, rate, said = self._spoken.pcm, self._spoken.sample_rate, self._text
            if not pcm:
                await probes.hear(stt, bytes(2 * rate), rate, options=self._once)
                return Finding(
                    "silence goes through; there is no speech to hear",
                    True,
                    mend="Set up TTS, or pass --audio FILE.",
                )
            heard = await probes.hear(stt, pcm, rate, options=self._once)
            if heard.delay is None:
                raise APIError("nothing was heard in the speech", retryable=False)
            alike = probes.likeness(said, heard.text) >= _ALIKE if said else True
            return Finding(
                f"heard “{heard.text}” {milliseconds(heard.delay)} after the end of speech",
                True,
                "ok" if alike else "warning",
                ""
                if alike
                else f"It was “{said}”: check the language, the voice, and both deployments.",
                marks={"final": heard.delay},
            )

        length = self._spoken.seconds if self._spoken else 0.0
        if self._recording is not None:
            length = len(self._recording[0]) / 2 / self._recording[1]
        if await self._exam.check("STT", "hearing", hear, within=LONGEST + length):
            self._exam.accepted("STT")

    async def _tts(self) -> None:
        endpoint = await self._endpoint("TTS")
        if endpoint is None:
            return
        streams = self._reach.components.tts_streams(endpoint)
        url = endpoint.websocket_urls()[0] if streams else endpoint.post_url()
        if not await self._reach.network("TTS", url):
            return
        if streams:
            ws = await self._reach.handshake("TTS", endpoint)
            if ws is None:
                return
            await ws.close()
        else:
            self._exam.note("TTS", "handshake", "skipped", "over HTTP there is none")
        tts = self._reach.components.tts()
        try:
            self._spoken = await self._speaking(tts, endpoint)
        finally:
            await tts.aclose()
        if self._spoken is not None:
            self._exam.accepted("TTS")

    async def _speaking(self, tts: TTS, endpoint: Endpoint) -> Spoken | None:
        async def speak() -> Finding[Spoken]:
            spoken, waited = await self._reach.awake(
                "TTS",
                endpoint,
                lambda limit: probes.say(
                    tts, self._text, options=APIConnectOptions(max_retry=0, timeout=limit)
                ),
            )
            detail = (
                f"first audio after {milliseconds(spoken.first)}, {spoken.seconds:.1f} s of "
                f"speech in {milliseconds(spoken.total)}"
            )
            return Finding(
                woken(detail, waited),
                spoken,
                marks={"first audio": spoken.first},
            )

        return await self._exam.check("TTS", "speaking", speak, within=self._reach.wake + LONGEST)
