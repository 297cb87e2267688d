from __future__ import annotations

import asyncio
import dataclasses
import functools
import math
import weakref
from collections.abc import Callable, Mapping
from typing import Any, get_args

import aiohttp

from livekit.agents import APIConnectOptions, tokenize, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given
from livekit.plugins.baseten_common import (
    ApiKey,
    AuthScheme,
    Endpoint,
    HTTPStream,
    Transport,
    WebSocket,
)

from . import checks
from .chunked import ChunkedStream
from .failures import WHAT
from .lines import Line
from .log import logger
from .models import Transports, TTSModels
from .options import Options
from .predict import Synthesis
from .protocols.registry import DIALECTS
from .sentences import default_tokenizer
from .session import SessionConfig
from .spares import SpareConnections
from .stream import SynthesizeStream
from .utterance import Conversation
from .warm import WarmSockets

__all__ = ["TTS"]

# Opening one with TLS takes two round trips. In each a WebSocket takes one, and speech over HTTP two:
# a sentence and the next, which an interruption both breaks off.
_SPARES, _SPARES_OVER_HTTP = 2, 4
_SPARES_LIFETIME = 25.0  # seconds; Baseten's docs want idle connections gone after 30


class TTS(tts.TTS):
    """Speech from a model deployed on Baseten.

    ``model`` says which protocol the deployment speaks. How it is called follows from the URL:
    ``https://`` posts each text, ``wss://`` streams text in and audio out over a WebSocket.
    """

    def __init__(
        self,
        *,
        model: TTSModels = "orpheus",
        api_key: str | None = None,
        model_endpoint: str | None = None,
        model_id: str | None = None,
        chain_id: str | None = None,
        environment: str | None = None,
        deployment_id: str | None = None,
        development: bool = False,
        regional: bool = False,
        transport: NotGivenOr[Transports] = NOT_GIVEN,
        auth_scheme: AuthScheme = "Bearer",
        voice: NotGivenOr[str] = NOT_GIVEN,
        language: NotGivenOr[str | None] = NOT_GIVEN,
        temperature: float = 0.6,
        max_tokens: int = 2000,
        buffer_size: int = 10,
        top_p: float | None = None,
        repetition_penalty: float | None = None,
        max_chunk_size: int | None = None,
        task_type: str = "Base",
        instructions: str | None = None,
        max_new_tokens: int | None = None,
        initial_codec_chunk_frames: int | None = None,
        x_vector_only_mode: bool | None = None,
        ref_audio: str | None = None,
        ref_text: str | None = None,
        word_timestamps: bool = False,
        extra_config: Mapping[str, Any] | None = None,
        text_field: str = "text",
        voice_field: str = "voice",
        extra_body: Mapping[str, Any] | None = None,
        sample_rate: int = 24000,
        tokenizer: NotGivenOr[tokenize.SentenceTokenizer] = NOT_GIVEN,
        text_pacing: tts.SentenceStreamPacer | bool = False,
        warm_sockets: int = 1,
        warm_lifetime: float = 300.0,
        cold_start_timeout: float = 0.0,
        http_session: aiohttp.ClientSession | None = None,
    ) -> None:
        """Describe the deployment and the voice; nothing is dialled yet.

        Args:
            model: The protocol that the deployment speaks.
            api_key: Baseten API key; default ``BASETEN_API_KEY``.
            model_endpoint: Full URL of the deployment; default ``BASETEN_TTS_MODEL_ENDPOINT``,
                then ``BASETEN_MODEL_ENDPOINT``. It goes before ``model_id`` and ``chain_id``.
            model_id: Id of the model; default ``BASETEN_TTS_MODEL_ID``.
            chain_id: Id of the chain; default ``BASETEN_TTS_CHAIN_ID``.
            environment: Environment of a model or chain named by its id; default ``production``.
            deployment_id: One deployment of it, in place of an environment.
            development: Its development deployment, in place of an environment.
            regional: Call the environment's own host, which pins the region.
            transport: How an Orpheus named by its id is called; default ``http``.
            auth_scheme: How the key is presented.
            voice: The speaker. Default ``tara`` for Orpheus and the model's own for ``generic``;
                Qwen3-TTS has none, so it must be named, cloned by ``ref_audio``, or described by
                ``instructions`` for VoiceDesign.
            language: The language spoken. Orpheus takes none, so there it is only accepted; default
                ``Auto`` for Qwen3-TTS; sent to ``generic`` when given.
            temperature: Orpheus: sampling temperature, 0 to 2.
            max_tokens: Orpheus: most tokens that a piece of text may take, about 83 a second.
            buffer_size: Orpheus over WebSocket: words that the server gathers before it speaks.
            top_p: Orpheus: nucleus sampling, 0 to 1; None leaves it to the server.
            repetition_penalty: Orpheus: 1 is none; None leaves it to the server.
            max_chunk_size: Orpheus over HTTP: characters at which the server splits a text.
            task_type: Qwen3-TTS: ``Base`` for cloned voices, ``CustomVoice`` or ``VoiceDesign``.
            instructions: Qwen3-TTS: the style to speak in.
            max_new_tokens: Qwen3-TTS: most audio tokens for a sentence.
            initial_codec_chunk_frames: Qwen3-TTS: size of the first piece of audio; larger sounds
                better at the onset and comes later.
            x_vector_only_mode: Qwen3-TTS: clone from the speaker embedding alone.
            ref_audio: Qwen3-TTS: clip to clone, an http(s) URL or a file of 3 MiB at most.
            ref_text: Qwen3-TTS: what is said in ``ref_audio``.
            word_timestamps: Qwen3-TTS: have words come with their times. The deployment needs an
                aligner.
            extra_config: Qwen3-TTS: merged into ``session.config`` last.
            text_field: ``generic``: the key of the request that takes the text.
            voice_field: ``generic``: the key that takes ``voice``; blank sends none.
            extra_body: ``generic``: further keys of the request.
            sample_rate: ``generic``: Hz of the speech handed out, and of audio that comes without
                a header.
            tokenizer: Finds the sentences that are spoken one by one. Over HTTP the default is
                LiveKit's; over a WebSocket text goes out word by word as it comes, unless one is
                given.
            text_pacing: Hold later sentences back until the audio runs low, so that less is wasted
                on interruptions.
            warm_sockets: WebSockets to keep dialled ahead. Each holds a place of a replica's
                concurrency while it waits. 0 keeps none. Over HTTP, anything but 0 keeps a few
                idle connections, which cost nothing.
            warm_lifetime: Seconds after :meth:`prewarm` or the last utterance for which they are
                kept.
            cold_start_timeout: Seconds to wait for a deployment that is starting: while it refuses
                as "not ready", and while it says nothing, as Baseten does with one that is scaled
                to zero. 0 leaves it at ``conn_options``.
            http_session: Session to use in place of LiveKit's.

        Raises:
            ValueError: the key or the endpoint is missing, or an option can't be used.
        """
        if model not in DIALECTS:
            raise ValueError(f"model must be one of {get_args(TTSModels)}; got {model!r}")
        dialect = DIALECTS[model]
        options = Options(
            voice=checks.default(voice, dialect.voice) or "",
            language=checks.default(language, dialect.language),
            temperature=temperature,
            max_tokens=max_tokens,
            buffer_size=buffer_size,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            max_chunk_size=max_chunk_size,
            task_type=task_type,
            instructions=instructions,
            max_new_tokens=max_new_tokens,
            initial_codec_chunk_frames=initial_codec_chunk_frames,
            x_vector_only_mode=x_vector_only_mode,
            ref_audio=ref_audio,
            ref_text=ref_text,
            word_timestamps=word_timestamps,
            extra_config=dict(extra_config or {}),
            text_field=text_field,
            voice_field=voice_field,
            extra_body=dict(extra_body or {}),
            sample_rate=sample_rate,
        )
        checks.check(model, dialect, options)
        if warm_sockets < 0 or not warm_lifetime >= 0 or not cold_start_timeout >= 0:
            raise ValueError("warm_sockets, warm_lifetime and cold_start_timeout can't be negative")
        key = ApiKey.resolve(api_key)
        endpoint = Endpoint.resolve(
            "TTS",
            model_endpoint=model_endpoint,
            model_id=model_id,
            chain_id=chain_id,
            environment=environment,
            deployment_id=deployment_id,
            development=development,
            regional=regional,
        )
        if endpoint is None:
            raise Endpoint.missing("TTS")
        over_websocket = checks.over_websocket(model, dialect, endpoint, transport)
        super().__init__(
            capabilities=tts.TTSCapabilities(
                streaming=True, aligned_transcript=checks.aligned(dialect, over_websocket, options)
            ),
            sample_rate=sample_rate if model == "generic" else 24000,
            num_channels=1,
        )
        checks.warn_of_ignored(model, dialect, options)
        self._model = model
        self._dialect = dialect
        self._opts = options
        self._endpoint = endpoint
        self._transport = Transport(api_key=key, auth_scheme=auth_scheme, http_session=http_session)
        self._cold_start_timeout = cold_start_timeout
        self._pacer = tts.SentenceStreamPacer() if text_pacing is True else text_pacing or None
        self._tokenizer = tokenizer if is_given(tokenizer) else None
        if self._tokenizer is None and (self._pacer or not over_websocket):
            self._tokenizer = default_tokenizer(retain_format=self._pacer is None)
        self._config = SessionConfig(dialect, options)
        self._streams: weakref.WeakSet[tts.SynthesizeStream | tts.ChunkedStream] = weakref.WeakSet()
        # None of what follows refers to this object, which sessions drop without closing it.
        transport_ = self._transport
        self._spares = SpareConnections(
            session=lambda: transport_.session,
            url=endpoint.websocket_urls()[0] if over_websocket else endpoint.post_url(),
            number=_SPARES if over_websocket else _SPARES_OVER_HTTP,
            lifetime=min(warm_lifetime, _SPARES_LIFETIME if over_websocket else math.inf)
            if warm_sockets
            else 0.0,
        )
        self._sockets: WarmSockets | None = None
        if over_websocket:
            self._sockets = WarmSockets(
                session=lambda: transport_.session,
                dial=functools.partial(
                    _dial, self._transport, endpoint, self._spares, cold_start_timeout
                ),
                prelude=self._config.current,
                number=warm_sockets,
                lifetime=warm_lifetime,
                keep_alive=dialect.keep_alive,
                one_shot=dialect.one_shot,
                cold_start=cold_start_timeout,
            )
        finalizer = weakref.finalize(self, _abandon, self._sockets, self._spares)
        finalizer.atexit = False  # type: ignore[misc]

    @property
    def model(self) -> str:
        """The protocol, as the name of the model."""
        return self._model

    @property
    def provider(self) -> str:
        """Baseten."""
        return "Baseten"

    def prewarm(self) -> None:
        """Dial ahead, in the background. LiveKit calls it when an agent starts."""
        try:
            (self._sockets or self._spares).warm()
        except RuntimeError:
            logger.debug("prewarm() has no effect outside an event loop")

    def update_options(
        self,
        *,
        voice: NotGivenOr[str] = NOT_GIVEN,
        language: NotGivenOr[str | None] = NOT_GIVEN,
        temperature: NotGivenOr[float] = NOT_GIVEN,
        max_tokens: NotGivenOr[int] = NOT_GIVEN,
        buffer_size: NotGivenOr[int] = NOT_GIVEN,
        top_p: NotGivenOr[float | None] = NOT_GIVEN,
        repetition_penalty: NotGivenOr[float | None] = NOT_GIVEN,
        max_chunk_size: NotGivenOr[int | None] = NOT_GIVEN,
        task_type: NotGivenOr[str] = NOT_GIVEN,
        instructions: NotGivenOr[str | None] = NOT_GIVEN,
        max_new_tokens: NotGivenOr[int | None] = NOT_GIVEN,
        initial_codec_chunk_frames: NotGivenOr[int | None] = NOT_GIVEN,
        x_vector_only_mode: NotGivenOr[bool | None] = NOT_GIVEN,
        ref_audio: NotGivenOr[str | None] = NOT_GIVEN,
        ref_text: NotGivenOr[str | None] = NOT_GIVEN,
        word_timestamps: NotGivenOr[bool] = NOT_GIVEN,
        extra_config: NotGivenOr[Mapping[str, Any]] = NOT_GIVEN,
        extra_body: NotGivenOr[Mapping[str, Any]] = NOT_GIVEN,
    ) -> None:
        """Change options from the next utterance on; what is being spoken isn't touched.

        Each has the meaning that it has in the constructor. What isn't given stays; None goes back
        to the server's own default. Connections that hold an old configuration are replaced.

        Raises:
            ValueError: an option can't be used; nothing has changed then.
        """
        given = {
            name: value
            for name, value in locals().items()
            if name not in ("self",) and is_given(value)
        }
        for name in {"extra_config", "extra_body"} & given.keys():
            given[name] = dict(given[name] or {})  # a copy, as in the constructor
        options = dataclasses.replace(self._opts, **given)
        checks.check(self._model, self._dialect, options)
        checks.warn_of_ignored(self._model, self._dialect, options, only=given)
        # The same file may hold another clip.
        changed = options != self._opts or "ref_audio" in given
        self._opts = self._config.options = options
        self._capabilities.aligned_transcript = checks.aligned(
            self._dialect, self._sockets is not None, options
        )
        if "ref_audio" in given:
            self._config.forget_clips()
        if self._sockets is not None and changed:
            self._sockets.renew()

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> ChunkedStream:
        """Speak a whole text.

        Args:
            text: What to say.
            conn_options: ``timeout`` bounds connecting and each wait for audio that is due.
        """
        stream = ChunkedStream(tts=self, input_text=text, conn_options=conn_options)
        self._streams.add(stream)
        return stream

    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> SynthesizeStream:
        """Speak one utterance whose text comes in pieces.

        Args:
            conn_options: ``timeout`` bounds connecting and each wait for audio that is due; a
                pause of the text isn't counted.
        """
        stream = SynthesizeStream(tts=self, conn_options=conn_options)
        self._streams.add(stream)
        return stream

    async def aclose(self) -> None:
        """Stop what is being spoken and close all connections, without waiting for the server."""
        await asyncio.gather(
            *(stream.aclose() for stream in list(self._streams)), return_exceptions=True
        )
        if self._sockets is not None:
            await self._sockets.aclose()
        await self._spares.aclose()

    async def _conversation(
        self, options: Options, *, limit: float, started: Callable[[Line], None]
    ) -> Conversation:
        assert self._sockets is not None
        assert self._dialect.websocket is not None
        return Conversation(
            sockets=self._sockets,
            utterance=functools.partial(self._dialect.websocket, options),
            prelude=await self._config.message(options),
            limit=limit,
            key=self._transport.api_key,
            started=started,
        )

    def _synthesis(
        self, options: Options, *, limit: float, started: Callable[[HTTPStream], None]
    ) -> Synthesis:
        assert self._dialect.http is not None
        return Synthesis(
            transport=self._transport,
            endpoint=self._endpoint,
            protocol=self._dialect.http(options),
            limit=limit,
            started=started,
            spares=self._spares,
            cold_start=self._cold_start_timeout,
        )


async def _dial(
    transport: Transport,
    endpoint: Endpoint,
    spares: SpareConnections,
    cold_start: float,
    limit: float,
    since: float,
) -> WebSocket:
    spares.warm()
    spares.replace()
    return await transport.connect(
        endpoint, what=WHAT, timeout=limit, cold_start_timeout=cold_start, since=since
    )


def _abandon(sockets: WarmSockets | None, spares: SpareConnections) -> None:
    if sockets is not None:
        sockets.abandon()
    spares.abandon()
