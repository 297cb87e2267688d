"""`Sandbox`: the local Baseten as an async context manager."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from aiohttp import web

from .addresses import Addresses
from .control import Control
from .deployments import DEFAULT_DEPLOYMENTS, Deployment
from .distance import Relay
from .engines import SpeechDetector, Synthesizer, Transcriber
from .engines.loading import parts
from .engines.pool import DetectorName, EnginePool, SynthesizerName, TranscriberName
from .faults import Fault, FaultPlan
from .gateway import Gateway
from .page import Page
from .recording import Recorder
from .records import Journal, Observer, SessionRecord
from .replay import Replay, ReplayPace
from .routing import MODEL_APIS_HOST
from .servers import Servers

if TYPE_CHECKING:
    from .engines.dialogue import ChatEngine

__all__ = ["Sandbox"]

_T = TypeVar("_T")
_BODY_LIMIT = 100 * 1024 * 1024


class Sandbox(Addresses):
    """A local Baseten on loopback.

    Use it as an async context manager::

        async with Sandbox(transcriber="tones", synthesizer="tones") as sandbox:
            stt = baseten.STT(api_key=sandbox.api_key, model_endpoint=sandbox.stt_endpoint)

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        api_key: The key that callers must send.
        deployments: What is deployed; `DEFAULT_DEPLOYMENTS` when ``None``.
        tls: Serve ``https`` and ``wss`` with a certificate made on the spot. `certificate` then
            names the file for ``SSL_CERT_FILE``.
        transcriber: ``"whisper"`` (the default), ``"moonshine"`` (faster; needs the extra of that
            name), ``"tones"``, or an engine of your own.
        synthesizer: ``"hibari"`` (the default), ``"polyglot"`` (German, Spanish, French and Italian
            besides; needs the extra ``languages``), ``"tones"``, or an engine of your own.
        detector: ``"silero"``, ``"tones"``, or what makes a detector for a session; by default it
            follows the transcriber.
        chat: The engine that answers chat completions, such as an `UpstreamEngine` or a
            `SmolEngine`; simple rules when ``None``.
        round_trip: Seconds of round-trip time added in front of every connection.
        bandwidth: Bytes per second each way that a connection carries; ``None`` for no limit.
        ping_interval: Seconds between WebSocket pings; a pong that stays out as long again closes
            with 1011, as Truss does. ``None`` for none.
        lifetime: Seconds after which a WebSocket is closed with 1001; Baseten guarantees an hour.
        agent: The file of the agent that the page at ``/`` talks to; see `page.agents.build`. The
            built-in one when ``None``.
        idle_limit: Seconds a Qwen3-TTS session may idle.
        record: File to write every session to, as JSON lines; see `Recorder`.
        replay: File of recorded sessions to play in place of the models; see `Replay`.
        replay_pace: ``"order"`` or ``"time"``; see `Replay`.
        keep: Keep every session and message in memory for `sessions`; see `Journal`.
        control: Serve ``/sandbox/…``, where faults are injected over HTTP; see `Control`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = "sandbox-key",
        deployments: Sequence[Deployment] | None = None,
        tls: bool = False,
        transcriber: TranscriberName | Transcriber | None = None,
        synthesizer: SynthesizerName | Synthesizer | None = None,
        detector: DetectorName | Callable[[], SpeechDetector] | None = None,
        chat: ChatEngine | None = None,
        round_trip: float = 0.0,
        bandwidth: float | None = None,
        ping_interval: float | None = 20.0,
        lifetime: float | None = None,
        agent: Path | None = None,
        idle_limit: float = 30.0,
        record: Path | str | None = None,
        replay: Path | str | None = None,
        replay_pace: ReplayPace = "order",
        keep: bool = True,
        control: bool = True,
    ) -> None:
        if not api_key.strip():
            raise ValueError("api_key can't be blank: choose any text, such as 'sandbox-key'")
        if round_trip < 0:
            raise ValueError("round_trip is a time in seconds: it can't be negative")
        super().__init__(
            host=host,
            port=port,
            tls=tls,
            deployments=DEFAULT_DEPLOYMENTS if deployments is None else deployments,
        )
        self.api_key = api_key
        self.faults = FaultPlan()
        self.certificate: Path | None = None
        self.engines = EnginePool(
            transcriber=transcriber or "whisper",
            synthesizer=synthesizer or "hibari",
            detector=detector,
        )
        self.chat = chat
        self._tls = tls
        self._round_trip = round_trip
        self._bandwidth = bandwidth
        self._recorder = None if record is None else Recorder(Path(record))
        self._journal = Journal(self._recorder, keep=keep)
        self._servers = Servers(self.engines, chat, idle_limit=idle_limit)
        self._gateway = Gateway(
            api_key=api_key,
            deployments=self._deployments,
            journal=self._journal,
            faults=self.faults,
            http=self._servers.http,
            sockets=self._servers.sockets,
            ping_interval=ping_interval,
            lifetime=lifetime,
            control=self._control() if control else None,
            replay=None if replay is None else Replay(Path(replay), pace=replay_pace),
        )
        self._page = Page(self.environ, agent=agent)
        self._runner: web.AppRunner | None = None
        self._relay: Relay | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def _control(self) -> Control:
        async def strike(fault: Fault, deployment: str | None) -> int:
            return await self.strike(fault, deployment=deployment)

        return Control(
            faults=self.faults,
            journal=self._journal,
            strike=strike,
            find=self.deployment,
            deploy=self.deploy,
        )

    async def __aenter__(self) -> Sandbox:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The port is taken.
        """
        app = web.Application(client_max_size=_BODY_LIMIT)
        self._page.add_routes(app.router)
        app.router.add_route("*", "/{path:.*}", self._gateway.handle)
        app.on_response_prepare.append(self._gateway.prepare)
        context = None
        if self._tls:
            from .certificates import Authority

            authority = Authority(
                "localhost", "127.0.0.1", "::1", "*.api.baseten.co", MODEL_APIS_HOST
            )
            context = authority.server_context()
            self._folder = tempfile.TemporaryDirectory(prefix="baseten-sandbox-")
            self.certificate = Path(self._folder.name) / "ca.pem"
            authority.write_bundle(self.certificate)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        try:
            distant = self._round_trip > 0 or self._bandwidth is not None
            site = web.TCPSite(
                self._runner, self.host, 0 if distant else self.port, ssl_context=context
            )
            await site.start()
            inner = int(self._runner.addresses[0][1])
            if distant:
                self._relay = Relay(
                    target=inner, round_trip=self._round_trip, bandwidth=self._bandwidth
                )
                await self._relay.start(self.host, self.port)
            self.port = self._relay.port if self._relay else inner
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        await self._page.close()
        await self._gateway.shut()
        if self._relay is not None:
            await self._relay.stop()
            self._relay = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.engines.close()
        await self._servers.close()
        if self._recorder is not None:
            self._recorder.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def load(self) -> None:
        """Load the models now rather than at the first request."""
        loop = asyncio.get_running_loop()
        for _, load in parts(self.engines, self.chat):
            await loop.run_in_executor(None, load)

    def environ(self) -> dict[str, str]:
        """The environment variables that point a user's program at this sandbox."""
        variables = {
            "BASETEN_API_KEY": self.api_key,
            "BASETEN_STT_MODEL_ENDPOINT": self.stt_endpoint,
            "BASETEN_TTS_MODEL_ENDPOINT": self.tts_endpoint,
            "BASETEN_BASE_URL": self.llm_base_url,
        }
        if self.certificate is not None:
            variables["SSL_CERT_FILE"] = str(self.certificate)
        return variables

    @property
    def sessions(self) -> list[SessionRecord]:
        """Every session so far, oldest first."""
        return self._journal.sessions

    def observe(self, observer: Observer) -> None:
        """Tell an observer of every session and message from now on."""
        self._journal.observers.append(observer)

    @property
    def open_sockets(self) -> int:
        """WebSockets that are open now."""
        return len(self._gateway.open)

    async def wait_for(self, condition: Callable[[], _T], *, timeout: float = 10.0) -> _T:
        """Wait until a condition over the records holds; see `Journal.wait_for`."""
        return await self._journal.wait_for(condition, timeout=timeout)

    async def wait_sessions(
        self,
        count: int,
        *,
        closed: bool = False,
        deployment: str | None = None,
        timeout: float = 10.0,
    ) -> list[SessionRecord]:
        """Wait until there were so many sessions.

        Args:
            count: At least so many.
            closed: Count those that are over only.
            deployment: Count those to this deployment only.
            timeout: Seconds.

        Returns:
            The sessions counted.
        """

        def found() -> list[SessionRecord] | None:
            sessions = [
                s
                for s in self.sessions
                if (s.closed or not closed) and deployment in (None, s.deployment)
            ]
            return sessions if len(sessions) >= count else None

        if count == 0:
            return found() or []
        result = await self.wait_for(found, timeout=timeout)
        assert result is not None
        return result

    async def wait_message(
        self,
        match: str | dict[str, Any],
        *,
        direction: Literal["received", "sent"] = "received",
        count: int = 1,
        timeout: float = 10.0,
    ) -> SessionRecord:
        """Wait until text messages that match went over any session, and give the last one's session.

        Args:
            match: A substring, or items that a JSON object holds.
            direction: ``"received"`` from the client or ``"sent"`` to it.
            count: At least so many of them.
            timeout: Seconds.
        """
        probe = Fault(do="mute", kind="text", match=match)

        def found() -> SessionRecord | None:
            hits = [
                session
                for session in self.sessions
                for message in session.messages
                if message.direction == direction and probe.counts(message.data)
            ]
            return hits[count - 1] if len(hits) >= count else None

        result = await self.wait_for(found, timeout=timeout)
        assert result is not None
        return result

    async def strike(self, fault: Fault, *, deployment: str | None = None) -> int:
        """Inject a fault into every open WebSocket now.

        Args:
            fault: What to do; its point and count don't matter.
            deployment: Only those to this deployment.

        Returns:
            How many were struck.
        """
        struck = [
            s
            for s in list(self._gateway.open.values())
            if deployment in (None, s.record.deployment)
        ]
        await asyncio.gather(*(socket.strike(fault) for socket in struck))
        return len(struck)
