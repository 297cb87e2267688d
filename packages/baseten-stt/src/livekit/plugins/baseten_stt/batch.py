"""One-shot recognition on a batch deployment, which answers HTTP requests.

https://docs.baseten.co/reference/inference-api/predict-endpoints/transcription-api
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from livekit import rtc
from livekit.agents import APIError, LanguageCode, stt
from livekit.agents.types import TimedString
from livekit.plugins.baseten_common import Endpoint, Transport, errors

from .languages import AUTO, whisper_code
from .options import STTOptions
from .protocols import Transcript
from .protocols.transcription import read_transcript

__all__ = ["recognize"]

_WHAT = "speech-to-text (batch)"
_LIMIT = 64 * 2**20
_QWEN_PREFIX = re.compile(r"^language (?P<language>[A-Za-z]+)\s*<asr_text>")


async def recognize(
    transport: Transport,
    endpoint: Endpoint,
    frame: rtc.AudioFrame,
    options: STTOptions,
    *,
    timeout: float,
) -> stt.SpeechEvent:
    """Transcribe a recording with one request.

    Args:
        transport: Sends it.
        endpoint: A model's ``predict``, a chain's ``run_remote``, or a full URL.
        frame: The recording.
        options: Language, prompt and the like.
        timeout: Seconds to connect; the answer may take that, plus the recording's own length.

    Raises:
        APIError: the request failed, or the answer holds no transcript.
    """
    whisper: dict[str, Any] = {"audio_language": whisper_code(options.language)}
    if options.show_word_timestamps:
        whisper["show_word_timestamps"] = True
    prompt = options.full_prompt(with_keyterms=True)
    if prompt:
        whisper["prompt"] = prompt
    if options.language_options:
        whisper["language_options"] = [whisper_code(code) for code in options.language_options]
    if options.whisper_sampling_params:
        whisper["whisper_sampling_params"] = dict(options.whisper_sampling_params)
    audio = b64encode(frame.to_wav_bytes()).decode("ascii")
    body = {
        "whisper_input": {
            "audio": {"audio_b64": audio},
            "whisper_params": {**whisper, **options.whisper_params},
        }
    }
    async with transport.post(
        endpoint.post_url(),
        json=body,
        what=_WHAT,
        timeout=timeout,
        read_timeout=timeout + frame.duration,
    ) as answer:
        text = (await answer.read(limit=_LIMIT)).decode("utf-8", "replace")
        if "error" in text.lower():  # one that comes with status 200 may hold the key
            text = transport.api_key.redact(text)
        request_id = answer.request_id or ""
    transcript = read_answer(text)
    language = transcript.language
    if not language and options.language != AUTO:
        language = LanguageCode(options.language)
    words = [
        TimedString(
            word.text,
            start_time=word.start,
            end_time=word.end,
            confidence=0.0 if word.confidence is None else word.confidence,
            start_time_offset=0.0,
            speaker_id=word.speaker,
        )
        for word in transcript.words
    ]
    data = stt.SpeechData(
        language=language,
        text=transcript.text,
        start_time=transcript.start or 0.0,
        end_time=transcript.end or 0.0,
        confidence=transcript.confidence,
        speaker_id=transcript.speaker,
        words=words or None,
    )
    return stt.SpeechEvent(
        type=stt.SpeechEventType.FINAL_TRANSCRIPT, request_id=request_id, alternatives=[data]
    )


def read_answer(text: str) -> Transcript:
    """The transcript in an answer, in any shape that Baseten's batch models give it.

    Raises:
        APIError: there is none, or the answer reports an error, which some do with status 200.
    """
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, str):
        if parsed.startswith("Error"):
            raise errors.from_frame(parsed, what=_WHAT)
        parsed = {"text": parsed}
    if not isinstance(parsed, Mapping):
        raise APIError(f"{_WHAT}: the answer isn't a JSON object")
    if parsed.get("error"):
        raise errors.from_frame(parsed, what=_WHAT)
    for name in ("transcript", "transcription", "text"):
        value = parsed.get(name)
        if isinstance(value, str):
            break
    else:
        value = None
    if value is None and not isinstance(parsed.get("segments"), list):
        raise APIError(f"{_WHAT}: the answer holds neither segments nor text", retryable=False)
    message = dict(parsed)
    message.setdefault("language_code", parsed.get("language"))
    if value is not None and (match := _QWEN_PREFIX.match(value)):
        value = value[match.end() :]
        message["language_code"] = match["language"]
    message["transcript"] = value
    segments = parsed.get("segments")
    if isinstance(segments, list):
        message["segments"] = [_current(part) for part in segments if isinstance(part, Mapping)]
    return read_transcript(message)


def _current(segment: Mapping[str, Any]) -> dict[str, Any]:
    names = {"start": "start_time", "end": "end_time", "avg_logprob": "log_prob"}
    renamed = {names.get(name, name): value for name, value in segment.items()}
    words = segment.get("word_timestamps") or segment.get("words")
    if isinstance(words, list):
        names |= {"probability": "prob", "text": "word"}
        renamed["word_timestamps"] = [
            {names.get(name, name): value for name, value in word.items()}
            for word in words
            if isinstance(word, Mapping)
        ]
    return renamed
