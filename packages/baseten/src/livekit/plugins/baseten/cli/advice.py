"""What a failure means, and what to do about it.

The words of the errors are those of ``baseten_common.errors``; here stands only what the user can
do. Sources: https://docs.baseten.co/inference/errors,
https://docs.baseten.co/development/model/websockets.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from dataclasses import dataclass

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError

__all__ = ["Advice", "advise", "one_line"]

_PREFIX = re.compile(r"^(speech-to-text|text-to-speech|LLM|connecting): ", re.IGNORECASE)
_BROKEN_OFF = re.compile(r"not completed|incomplete|broke off|complete message", re.IGNORECASE)
_MAX = 400

_KEYS = "https://app.baseten.co/settings/api_keys"
_STATUS = {
    401: f"Set BASETEN_API_KEY to a valid key: make one at {_KEYS}. A federated key needs "
    "--auth-scheme Api-Key.",
    402: "Settle the billing of your Baseten workspace.",
    403: "Use a key whose workspace and permissions cover this deployment.",
    408: "Baseten had no replica free in time: try again, or raise the deployment's minimum.",
    413: "Send less at once.",
    429: "Raise the deployment's concurrency target or replicas, or wait for the rate limit.",
    500: "Read the deployment's logs on the Baseten dashboard; promote a healthy deployment.",
    502: "The model server crashed: read the deployment's logs on the Baseten dashboard.",
    503: "It hasn't come up: read the deployment's logs, or have the doctor wait longer with --wake.",
    504: "Baseten had no replica up in time: have the doctor wait longer with --wake, or raise its minimum.",
    1003: "This deployment takes no such connection. Check that the URL is the right one, and "
    "whether the model is called over https:// (…/predict) or wss:// (…/websocket).",
    1006: "The connection broke: read the deployment's logs, and check proxies in between.",
    1013: "The replicas are full: raise the deployment's concurrency target or replicas.",
}
_WHERE = {
    "key": f"BASETEN_API_KEY to a valid key: make one at {_KEYS}",
    "STT": "--stt-endpoint, --stt-model-id or --stt-chain-id (variables: "
    "BASETEN_STT_MODEL_ENDPOINT, …_MODEL_ID, …_CHAIN_ID)",
    "TTS": "--tts-endpoint, --tts-model-id or --tts-chain-id (variables: "
    "BASETEN_TTS_MODEL_ENDPOINT, …_MODEL_ID, …_CHAIN_ID)",
    "LLM": "--llm-base-url, --llm-model-id or --llm-chain-id (variables: BASETEN_BASE_URL, "
    "BASETEN_LLM_MODEL_ENDPOINT, …_MODEL_ID, …_CHAIN_ID)",
}
_OTHER_MODEL = {
    "STT": "Something else than the model named may be deployed there: compare the URL with the "
    "dashboard's, and name the model with --stt-model whisper or qwen3-asr. A runtime of an older "
    "version may need --stt-option metadata_format=legacy or show_word_timestamps=false.",
    "TTS": "Something else than the model named may be deployed there: compare the URL with the "
    "dashboard's, and name the model with --tts-model orpheus, qwen3-tts or generic.",
    "LLM": "Check that the deployment serves an OpenAI-compatible chat at …/sync/v1.",
}


@dataclass(frozen=True)
class Advice:
    """Words on a failure.

    Attributes:
        meaning: What it means.
        mend: What to do; blank if the meaning says it.
        key_refused: Whether it is the API key that was refused.
    """

    meaning: str
    mend: str = ""
    key_refused: bool = False


def advise(error: BaseException, *, part: str = "") -> Advice:
    """What a failure means and what to do about it.

    Args:
        error: What was raised.
        part: ``STT``, ``TTS`` or ``LLM``; blank for the key.
    """
    if isinstance(error, ValueError) and not isinstance(error, ssl.SSLError):
        return Advice(_tidy(str(error)), f"Set {_WHERE[part]}." if part in _WHERE else "")
    if isinstance(error, APIStatusError):
        return _of_status(error, part)
    if isinstance(error, ssl.SSLError) or "certificate" in str(error):
        return Advice(
            _tidy(_certificate(error)),
            "TLS is never switched off. Put the authority that signs your proxy's certificates "
            "into a file and name it in SSL_CERT_FILE; or correct the URL, or this machine's clock.",
        )
    if isinstance(error, APITimeoutError):
        return Advice(
            _tidy(error.message),
            "The model is busy, starting, or stuck: look at its logs on the Baseten dashboard; "
            "give it longer with --timeout. The doctor waits --wake seconds for one that starts.",
        )
    if isinstance(error, socket.gaierror):
        return Advice(
            "the host's name isn't known (DNS)",
            f"Check the id in the URL: {_WHERE.get(part, 'the URL')}; and that this machine "
            f"resolves names.{_proxied()}",
        )
    if isinstance(error, APIConnectionError) and _BROKEN_OFF.search(error.message):
        return Advice(
            "the answer broke off before its end",
            "Try again; if it stays so, read the deployment's logs on the Baseten dashboard.",
        )
    if isinstance(error, (OSError, APIConnectionError)):
        return Advice(_tidy(_connection(error)), _unreachable())
    if isinstance(error, APIError):
        return Advice(_tidy(error.message), _OTHER_MODEL.get(part, ""))
    return Advice(f"unexpected: {type(error).__name__}: {_tidy(str(error))}", "Please report this.")


def one_line(error: BaseException, *, part: str = "") -> str:
    """A failure and its mend as the one line that a command ends with."""
    # LiveKit wraps the last of its tries.
    while isinstance(error, APIError) and isinstance(error.__cause__, APIError):
        error = error.__cause__
    advice = advise(error, part=part)
    meaning = advice.meaning.rstrip(".")
    if isinstance(error, ValueError) or not advice.mend:
        return meaning
    return f"{meaning}. {advice.mend}"


def _of_status(error: APIStatusError, part: str) -> Advice:
    status, meaning = error.status_code, _tidy(error.message)
    if status == 404 and "retired" in meaning:
        return Advice(
            meaning.replace("; `await llm.list_models()` lists those that are", ""),
            "Choose another with --llm-model; the check 'model' lists those that this key can use.",
        )
    if status == 404:
        return Advice(
            meaning,
            f"Check the id and the environment on the Baseten dashboard: {_WHERE.get(part, '')}. "
            "A deactivated deployment must be activated there.",
        )
    if status in (400, 422, 1002, 1007, 1008, 1011):
        return Advice(meaning, _OTHER_MODEL.get(part, ""))
    if 200 <= status < 400:
        return Advice(
            meaning,
            "Something else answers there, such as a proxy or a login page: check the URL and "
            "your network.",
        )
    if status in (1000, 1001, 1005, 1012):
        return Advice(meaning, "Try again; if it stays so: " + _OTHER_MODEL.get(part, ""))
    mend = _STATUS.get(status, "Read the deployment's logs on the Baseten dashboard.")
    return Advice(meaning, mend, key_refused=status in (401, 403))


def _certificate(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate isn't trusted: {error.verify_message}"
    return str(error) if isinstance(error, APIError) else f"TLS failed: {error}"


def _connection(error: BaseException) -> str:
    code = getattr(error, "errno", None)
    if code == errno.ECONNREFUSED:
        return "the connection is refused: nothing listens there"
    if isinstance(error, OSError) and error.strerror:
        return f"can't connect: {error.strerror}"
    return re.sub(r"\[Errno -?\d+\] ", "", str(error)) or type(error).__name__


def _unreachable() -> str:
    return f"Check the URL's host and port, your network, and firewalls in between.{_proxied()}"


def _proxied() -> str:
    # Those that LiveKit's worker looks at.
    named = next((name for name in ("HTTPS_PROXY", "HTTP_PROXY") if os.environ.get(name)), None)
    if named is None:
        return ""
    return (
        f" {named} is set: agents under LiveKit's worker go through that proxy, this check doesn't."
    )


def _tidy(text: str) -> str:
    text = " ".join(_PREFIX.sub("", text).split())
    return text if len(text) <= _MAX else text[:_MAX] + "…"
