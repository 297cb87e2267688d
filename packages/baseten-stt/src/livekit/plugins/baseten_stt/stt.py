from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp

from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions, LanguageCode, stt
from livekit.agents.types import NOT_GIVEN, NotGivenOr
from livekit.agents.utils import AudioBuffer, is_given
from livekit.plugins.baseten_common import ApiKey, AuthScheme, Endpoint, Transport

from . import batch
from .audio import downmix
from .dialer import Dialer
from .languages import parse_language
from .log import logger
from .models import MetadataFormat, STTEncoding, STTModels
from .oneshot import OneShotStream
from .options import STTOptions, WhisperSamplingParams
from .protocols import PROTOCOLS
from .stream import SpeechStream, changed

if TYPE_CHECKING:
    from livekit.agents import ConversationItemAddedEvent

__all__ = ["STT"]

_RECENT = 6  # conversation items that make up the context


class STT(stt.STT):
    """Speech-to-text on a model that is deployed on Baseten.

    https://docs.baseten.co/reference/inference-api/predict-endpoints/streaming-transcription-api
    """

    def __init__(
        self,
        *,
        model: STTModels | str = "whisper",
        api_key: str | None = None,
        model_endpoint: str | None = None,
        model_id: str | None = None,
        chain_id: str | None = None,
        environment: str | None = None,
        deployment_id: str | None = None,
        development: bool = False,
        regional: bool = False,
        auth_scheme: AuthScheme = "Bearer",
        sample_rate: int = 16000,
        encoding: NotGivenOr[STTEncoding] = NOT_GIVEN,
        buffer_size_seconds: float = 0.032,
        language: NotGivenOr[str] = NOT_GIVEN,
        language_options: list[str] | None = None,
        enable_partial_transcripts: bool = True,
        partial_transcript_interval_s: NotGivenOr[float] = NOT_GIVEN,
        final_transcript_max_duration_s: float = 30,
        show_word_timestamps: NotGivenOr[bool] = NOT_GIVEN,
        vad_threshold: float = 0.5,
        vad_min_silence_duration_ms: NotGivenOr[int] = NOT_GIVEN,
        vad_speech_pad_ms: NotGivenOr[int] = NOT_GIVEN,
        preflight: bool = False,
        prompt: str = "",
        keyterms: list[str] | None = None,
        chat_context: bool = False,
        output_language: str | None = None,
        use_dynamic_preprocessing: bool | None = None,
        show_beam_results: bool | None = None,
        whisper_sampling_params: WhisperSamplingParams | None = None,
        whisper_params: Mapping[str, Any] | None = None,
        streaming_params: Mapping[str, Any] | None = None,
        streaming_vad_config: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        metadata_format: MetadataFormat = "current",
        batch_endpoint: str | None = None,
        batch_model_id: str | None = None,
        batch_chain_id: str | None = None,
        dead_link_timeout: float = 20.0,
        cold_start_timeout: float = 120.0,
        max_connection_age: float = 3300.0,
        replay_speed: float | None = 8.0,
        http_session: aiohttp.ClientSession | None = None,
    ) -> None:
        """Check the options; nothing is dialled.

        The endpoint is the first of ``model_endpoint``, ``model_id``, ``chain_id``, and the
        variables ``BASETEN_STT_MODEL_ENDPOINT``, ``BASETEN_STT_MODEL_ID``,
        ``BASETEN_STT_CHAIN_ID`` and ``BASETEN_MODEL_ENDPOINT``.

        Args:
            model: The protocol of the deployment: ``"whisper"`` or ``"qwen3-asr"``.
            api_key: Baseten API key; ``BASETEN_API_KEY`` when None.
            model_endpoint: Full URL, ``wss://…/websocket``.
            model_id: Id of a model.
            chain_id: Id of a chain.
            environment: Environment of the model or chain; ``production`` when None.
            deployment_id: A fixed deployment, in place of an environment.
            development: The development deployment, in place of an environment.
            regional: Use the environment's own host, which pins the region.
            auth_scheme: How the key is presented.
            sample_rate: Accepted for compatibility. PCM goes out at 16 kHz and µ-law at 8 kHz,
                since the server takes it so; frames pushed may have any rate.
            encoding: ``"pcm_s16le"`` (default) or ``"pcm_mulaw"``: half the bytes, at 8 kHz, but
                doubtful on Baseten's runtime. Whisper only.
            buffer_size_seconds: Accepted and ignored: a frame is always 512 samples.
            language: Code or name; ``"auto"`` detects it. Default ``"en"`` (Whisper) or ``"auto"``
                (Qwen3-ASR, which may translate into a language that is forced).
            language_options: The languages that detection chooses from (Whisper v0.5.0).
            enable_partial_transcripts: Emit interim transcripts.
            partial_transcript_interval_s: Seconds between them; default 1.0 or 0.5 (Qwen3-ASR).
            final_transcript_max_duration_s: Seconds of speech after which a final is forced; whole
                seconds for Whisper, which takes 30 at most.
            show_word_timestamps: Give each word its times (Whisper v0.4.0); default True, or False
                (Qwen3-ASR).
            vad_threshold: Probability of speech that begins a turn, 0 to 1.
            vad_min_silence_duration_ms: Silence that ends a turn; default 300 or 500 (Qwen3-ASR).
            vad_speech_pad_ms: Padding around speech; default 30 or 100 (Qwen3-ASR).
            preflight: Emit PREFLIGHT_TRANSCRIPT when two interims in a row agree.
            prompt: Text that the model takes for what was said before.
            keyterms: Words to expect: a field of Qwen3-ASR, part of the prompt for Whisper.
            chat_context: Put the recent conversation into the prompt. Each turn then opens a new
                connection at the next pause.
            output_language: Language of Whisper's text, ``"auto"`` on the server.
            use_dynamic_preprocessing: Whisper's option of that name.
            show_beam_results: Whisper's option of that name (v0.7.5).
            whisper_sampling_params: Whisper's decoding (v0.6.0).
            whisper_params: More keys for that part of the first message. They win over the
                options above; the server refuses keys that it doesn't know.
            streaming_params: Likewise.
            streaming_vad_config: Likewise.
            metadata: More keys for the top level of the first message.
            metadata_format: Names that older Whisper runtimes know.
            batch_endpoint: Full URL of a batch deployment, for :meth:`recognize`.
            batch_model_id: Id of a batch model, in the same environment.
            batch_chain_id: Id of a batch chain, in the same environment.
            dead_link_timeout: Seconds within which a dead connection is noticed.
            cold_start_timeout: Seconds to wait for a deployment that is starting, over all retries:
                while it refuses as "not ready", and while it says nothing, as Baseten does with
                one that is scaled to zero. 0 leaves it at ``conn_options``.
            max_connection_age: Seconds after which a connection is replaced, at a pause. Baseten
                guarantees an hour.
            replay_speed: How much faster than real time audio is sent that waited, or is sent
                again; None for no limit.
            http_session: Session to use in place of LiveKit's.

        Raises:
            ValueError: an option is out of its range, or no key or endpoint is given.
        """
        if model not in PROTOCOLS:
            raise ValueError(f"model must be one of {', '.join(PROTOCOLS)}; got {model!r}")
        defaults = PROTOCOLS[model].defaults
        is_whisper = model == "whisper"
        if is_whisper and int(final_transcript_max_duration_s) != final_transcript_max_duration_s:
            raise ValueError("final_transcript_max_duration_s must be whole seconds for Whisper")
        chosen: STTEncoding = encoding if is_given(encoding) else "pcm_s16le"
        _tell_ignored(model, sample_rate, chosen, buffer_size_seconds)
        self._options = STTOptions(
            model=model,
            language=parse_language(language if is_given(language) else defaults.language),
            language_options=tuple(parse_language(code) for code in language_options or ()),
            encoding=chosen,
            enable_partial_transcripts=enable_partial_transcripts,
            partial_transcript_interval_s=_or(
                partial_transcript_interval_s, defaults.partial_transcript_interval_s
            ),
            final_transcript_max_duration_s=final_transcript_max_duration_s,
            show_word_timestamps=_or(show_word_timestamps, defaults.show_word_timestamps),
            vad_threshold=vad_threshold,
            vad_min_silence_duration_ms=_or(
                vad_min_silence_duration_ms, defaults.vad_min_silence_duration_ms
            ),
            vad_speech_pad_ms=_or(vad_speech_pad_ms, defaults.vad_speech_pad_ms),
            preflight=preflight,
            prompt=prompt,
            keyterms=tuple(keyterms or ()),
            output_language=output_language,
            use_dynamic_preprocessing=use_dynamic_preprocessing,
            show_beam_results=show_beam_results,
            whisper_sampling_params=dict(whisper_sampling_params or {}),
            whisper_params=dict(whisper_params or {}),
            streaming_params=dict(streaming_params or {}),
            streaming_vad_config=dict(streaming_vad_config or {}),
            metadata=dict(metadata or {}),
            metadata_format=metadata_format,
            dead_link_timeout=dead_link_timeout,
            cold_start_timeout=cold_start_timeout,
            max_connection_age=max_connection_age,
            replay_speed=replay_speed,
        )
        target: dict[str, Any] = {
            "environment": environment,
            "deployment_id": deployment_id,
            "development": development,
            "regional": regional,
        }
        endpoint = Endpoint.resolve(
            "STT", model_endpoint=model_endpoint, model_id=model_id, chain_id=chain_id, **target
        )
        if endpoint is None:
            raise Endpoint.missing("STT")
        self._batch: Endpoint | None = None
        if batch_endpoint is not None:
            self._batch = Endpoint.parse(batch_endpoint)
        elif batch_model_id is not None:
            self._batch = Endpoint.model(batch_model_id, **target)
        elif batch_chain_id is not None:
            self._batch = Endpoint.chain(batch_chain_id, **target)
        transport = Transport(
            api_key=ApiKey.resolve(api_key), auth_scheme=auth_scheme, http_session=http_session
        )
        super().__init__(
            capabilities=stt.STTCapabilities(
                streaming=True,
                interim_results=enable_partial_transcripts,
                diarization=bool(self._options.whisper_params.get("enable_diarization")),
                aligned_transcript="word" if self._options.show_word_timestamps else "chunk",
                offline_recognize=True,
                keyterms=PROTOCOLS[model].keyterms,
                chat_context=chat_context,
                manual_flush=True,
            )
        )
        self._transport = transport
        self._dialer = Dialer(transport, endpoint)
        self._streams: weakref.WeakSet[SpeechStream] = weakref.WeakSet()
        self._conversation: list[str] = []

    @property
    def model(self) -> str:
        """The protocol's name, such as ``whisper``."""
        return self._options.model

    @property
    def options(self) -> STTOptions:
        """What the next stream is opened with. Change it by :meth:`update_options`."""
        return self._options

    @property
    def provider(self) -> str:
        """``Baseten``."""
        return "Baseten"

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> SpeechStream:
        """Begin a stream. It starts to connect at once.

        Args:
            language: Language of this stream alone.
            conn_options: Retries; and the seconds for connecting and for each answer that is due.

        Raises:
            ValueError: the language is blank.
        """
        stream = SpeechStream(
            stt=self,
            options=changed(self._options, language=language),
            dialer=self._dialer,
            conn_options=conn_options,
        )
        self._streams.add(stream)
        return stream

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        options = changed(self._options, language=language)
        frames = buffer if isinstance(buffer, list) else [buffer]
        frame = rtc.combine_audio_frames([downmix(part) for part in frames]) if frames else None
        if frame is None or not frame.samples_per_channel:
            data = stt.SpeechData(language=LanguageCode(""), text="")
            return stt.SpeechEvent(stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[data])
        if self._batch is not None:
            return await batch.recognize(
                self._transport, self._batch, frame, options, timeout=conn_options.timeout
            )
        stream = OneShotStream(
            stt=self, options=options, dialer=self._dialer, conn_options=conn_options
        )
        self._streams.add(stream)
        try:
            return await stream.recognize(frame)
        finally:
            await stream.aclose()

    def update_options(
        self,
        *,
        vad_threshold: NotGivenOr[float] = NOT_GIVEN,
        vad_min_silence_duration_ms: NotGivenOr[int] = NOT_GIVEN,
        vad_speech_pad_ms: NotGivenOr[int] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        language_options: NotGivenOr[list[str]] = NOT_GIVEN,
        prompt: NotGivenOr[str] = NOT_GIVEN,
        keyterms: NotGivenOr[list[str]] = NOT_GIVEN,
        buffer_size_seconds: NotGivenOr[float] = NOT_GIVEN,
    ) -> None:
        """Change options of this object and of its live streams.

        A live stream opens a second connection and goes over to it at the next pause in speech, so
        that no word is lost or said twice. What isn't given stays as it is.

        Raises:
            ValueError: a value is out of its range; nothing is changed then.
        """
        if is_given(buffer_size_seconds):
            logger.warning("buffer_size_seconds has no effect: a frame is always 512 samples")

        def change(options: STTOptions) -> STTOptions:
            return changed(
                options,
                vad_threshold=vad_threshold,
                vad_min_silence_duration_ms=vad_min_silence_duration_ms,
                vad_speech_pad_ms=vad_speech_pad_ms,
                language=language,
                language_options=language_options,
                prompt=prompt,
                keyterms=keyterms,
            )

        self._apply(change)

    def _apply(self, change: Callable[[STTOptions], STTOptions]) -> None:
        self._options = change(self._options)
        for stream in list(self._streams):
            stream._apply(change)

    def _update_session_keyterms(self, keyterms: list[str]) -> None:
        self._apply(lambda options: replace(options, session_keyterms=tuple(keyterms)))

    def _push_conversation_item(self, ev: ConversationItemAddedEvent) -> None:
        if not self.capabilities.chat_context:
            super()._push_conversation_item(ev)
            return
        text = getattr(ev.item, "text_content", None)
        if not text:
            return
        self._conversation = [*self._conversation, " ".join(text.split())][-_RECENT:]
        context = " ".join(self._conversation)
        self._apply(lambda options: replace(options, context=context))

    def prewarm(self) -> None:
        """Open the first stream's connection ahead. It occupies a replica for a minute at most.

        A deployment that is scaled to zero begins to start; the first stream takes the wait over.
        """
        try:
            self._dialer.warm(
                timeout=DEFAULT_API_CONNECT_OPTIONS.timeout,
                dead_after=self._options.dead_link_timeout,
                cold_start=self._options.cold_start_timeout,
            )
        except RuntimeError:
            logger.debug("prewarm() does nothing without a running event loop")

    async def aclose(self) -> None:
        """Close every stream and connection."""
        await asyncio.gather(
            self._dialer.aclose(),
            *(stream.aclose() for stream in list(self._streams)),
            return_exceptions=True,
        )


def _or(value: NotGivenOr[Any], default: Any) -> Any:
    return value if is_given(value) else default


def _tell_ignored(model: str, sample_rate: int, encoding: str, buffer_size_seconds: float) -> None:
    if sample_rate <= 0:
        raise ValueError(f"sample_rate must be more than 0 Hz; got {sample_rate!r}")
    if encoding == "pcm_mulaw" and model != "whisper":
        raise ValueError(f"encoding='pcm_mulaw' isn't known to model={model!r}: leave it out")
    if encoding != "pcm_mulaw" and sample_rate != 16000:
        logger.warning(
            "sample_rate=%d isn't what goes out: the server takes PCM for 16 kHz, so audio is "
            "resampled to that",
            sample_rate,
        )
    elif encoding == "pcm_mulaw" and sample_rate not in (8000, 16000):
        logger.warning("sample_rate=%d isn't what goes out: µ-law is sent at 8 kHz", sample_rate)
    if buffer_size_seconds != 0.032:
        logger.warning("buffer_size_seconds has no effect: a frame is always 512 samples")
