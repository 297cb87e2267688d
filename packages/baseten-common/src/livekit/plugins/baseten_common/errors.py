"""What went wrong at the remote end, as LiveKit's exceptions. Nothing else decides that.

=====================================================  ========================  ========
what happened                                          what is raised            retried
=====================================================  ========================  ========
HTTP or handshake 400, 401, 402, 403, 404, 413, 422    ``APIStatusError``        no
HTTP or handshake 408, 429, 5xx                        ``APIStatusError``        yes
a redirect, which would carry the request elsewhere    ``APIStatusError``        no
connecting, or an answer that is due, takes too long   ``APITimeoutError``       yes
a cold start was waited for as long as was asked       the last refusal's, or    no
                                                       ``APITimeoutError``
refused, reset, DNS, broken body                       ``APIConnectionError``    yes
certificate not trusted, URL unusable, session closed  ``APIConnectionError``    no
close 1000 or 1005 before the protocol's own end       ``APIStatusError``        yes
close 1001, 1006, 1011, 1012, 1013, 1014               ``APIStatusError``        yes
close 1002, 1003, 1007, 1008, 1009, 1010               ``APIStatusError``        no
close 3000 to 4999                                     ``APIStatusError``        by words
error frame with a 4xx status, or of configuration     ``APIStatusError``        no
any other error frame                                  ``APIError``              by words
an answer that can't be read, or isn't the whole       ``APIError``              yes
an answer of another kind of deployment, a lost file   ``APIError``              no
any of these, after a part was handed on               the same                  no
=====================================================  ========================  ========

*By words*: an error that says the request itself is wrong ("invalid", "unsupported", "not found")
would fail again and isn't retried. LiveKit forbids retries of 4xx statuses other than 408 and 429.
*After a part was handed on*: a listener has heard it, so a retry would say it twice.

The message is the server's own words where it sent any, and the request id is kept. Exceptions of
aiohttp are never chained: they hold the request's headers, and with them the API key. Sources:
https://docs.baseten.co/inference/errors, https://docs.baseten.co/development/model/websockets.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import aiohttp

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError

from .credentials import ApiKey

__all__ = [
    "error_words",
    "from_close",
    "from_exception",
    "from_finding",
    "from_frame",
    "from_status",
    "handed_on",
    "is_cold_start",
    "not_started",
    "request_id",
    "retry_after",
    "timed_out",
]

_MAX_WORDS = 500

_STATUS = {
    400: "bad request, or the wrong path for this deployment",
    401: "the API key was refused",
    402: "there is a billing problem in the Baseten workspace",
    403: "the API key may not use this deployment",
    404: "no such deployment: wrong or deleted id, or deactivated",
    408: "no replica took the connection in time",
    413: "the request is too large",
    422: "the model refused the request",
    429: "too many requests, or no capacity left",
    500: "the model failed, or no replica was up in time",
    502: "the model server crashed or can't be reached",
    503: "the model isn't ready",
    504: "no replica answered in time",
}

_CLOSE = {
    1000: "closed before the end",
    1001: "the replica is going away",
    1002: "protocol error",
    1003: "this deployment doesn't take such messages",
    1005: "closed without a code",
    1006: "the connection was lost",
    1007: "a message couldn't be read",
    1008: "refused by policy",
    1009: "a message was too large",
    1010: "an extension is missing",
    1011: "the model failed",
    1012: "the service is restarting",
    1013: "the replica is overloaded",
    1014: "bad gateway",
}
_FINAL_CLOSES = frozenset({1002, 1003, 1007, 1008, 1009, 1010})

_TRANSIENT = re.compile(
    r"\b(?<!sample )rate(?![a-z])|limit|time[d -]*out|overload|capacity|again(?!st)|temporar"
    r"|internal|unavailable|busy|unknown error",
    re.IGNORECASE,
)
_PERMANENT = re.compile(
    r"unauthori[sz]ed|forbidden|invalid|unsupported|unknown|malformed|validation|must be"
    r"|not? (?:such|found|supported|allowed|permitted)|does(?: not|n't) exist|too (?:long|large)",
    re.IGNORECASE,
)


def _tidy(text: str, key: ApiKey | None) -> str:
    text = " ".join(text.split())
    if key:
        text = key.redact(text)
    return text if len(text) <= _MAX_WORDS else text[:_MAX_WORDS] + "…"


def _is_permanent(words: str) -> bool:
    return bool(_PERMANENT.search(words)) and not _TRANSIENT.search(words)


def error_words(payload: object) -> str:
    """The human words in an error body or frame of any shape; blank when there are none.

    Read in turn: ``message``, ``error``, ``detail``, ``reason``, ``body``, each of them nested.
    """
    for _ in range(8):
        if isinstance(payload, str):
            return payload
        if isinstance(payload, list) and payload:
            payload = payload[0]
            continue
        if not isinstance(payload, Mapping):
            return ""
        for name in ("message", "error", "detail", "reason", "msg", "body"):
            if payload.get(name):
                payload = payload[name]
                break
        else:
            return ""
    return ""


def request_id(headers: Mapping[str, str] | None) -> str | None:
    """Baseten's id of a request, from the answer's headers."""
    for name, value in (headers or {}).items():
        if name.lower() == "x-baseten-request-id":
            return value
    return None


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Seconds that the server asks to wait before the next try; None when it doesn't say."""
    for name, value in (headers or {}).items():
        if name.lower() == "retry-after":
            try:
                seconds = float(value)
            except ValueError:
                try:
                    until = parsedate_to_datetime(value)
                except (ValueError, OverflowError):
                    return None
                if until.tzinfo is None:
                    until = until.replace(tzinfo=timezone.utc)
                seconds = (until - datetime.now(timezone.utc)).total_seconds()
            # a comparison that NaN fails too
            return min(seconds, 86400.0) if seconds >= 0 else 0.0
    return None


def _body_words(body: bytes | str) -> str:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        return error_words(json.loads(text)) or text
    except (ValueError, RecursionError):
        return text


def is_cold_start(status: int, body: bytes | str = b"", *, parked: bool = False) -> bool:
    """Whether a refused handshake or request says that the deployment is still starting.

    Args:
        status: The HTTP status.
        body: What the server said.
        parked: Whether the answer took so long that the request was waiting for a replica: a 500
            then means that none was up in time.
    """
    if status == 503:
        return "not ready" in _body_words(body).lower()
    return status in (408, 504) or (parked and status == 500)


def not_started(what: str, seconds: float, refusal: APIError | None = None) -> APIError:
    """The error for a deployment that was waited for in vain; the wait stood for all retries.

    Args:
        what: What was being done, as the start of the message.
        seconds: How long a cold start is waited for.
        refusal: The last that the server said, if anything.
    """
    vain = f"the deployment didn't answer within {seconds:g} s of waiting for its cold start"
    if isinstance(refusal, APIStatusError):
        return APIStatusError(
            f"{refusal.message}; {vain}",
            status_code=refusal.status_code,
            request_id=refusal.request_id,
            retryable=False,
        )
    return APITimeoutError(f"{what}: {vain}", retryable=False)


def from_status(
    status: int,
    *,
    what: str,
    body: bytes | str = b"",
    headers: Mapping[str, str] | None = None,
    key: ApiKey | None = None,
) -> APIError:
    """The error for an HTTP status, of a request or of a WebSocket handshake.

    Args:
        status: The HTTP status.
        what: What was being done, as the start of the message.
        body: What the server said; JSON or not.
        headers: The answer's headers, for the request id.
        key: The API key, to be kept out of the message.
    """
    words = _tidy(_body_words(body), key)
    if 300 <= status < 400:
        reason = "redirected elsewhere, which isn't followed"
    else:
        reason = _STATUS.get(status, "the server failed" if status >= 500 else "refused")
    message = f"{what}: {reason} (HTTP {status})" + (f": {words}" if words else "")
    if status == 499:
        # LiveKit takes a 499 for its own cancellation and would end the request in silence.
        return APIConnectionError(message)
    return APIStatusError(
        message,
        status_code=status,
        request_id=request_id(headers),
        retryable=status in (408, 429) or (status >= 500 and status not in (501, 505)),
    )


def from_close(
    code: int | None,
    reason: str = "",
    *,
    what: str,
    request_id: str | None = None,
    key: ApiKey | None = None,
) -> APIError:
    """The error for a WebSocket that closed before the protocol's own end."""
    code = 1005 if code is None else code
    words = _tidy(reason, key)
    meaning = _CLOSE.get(code, "closed by the model")
    retryable = code not in _FINAL_CLOSES and not (code >= 3000 and _is_permanent(words))
    return APIStatusError(
        f"{what}: {meaning} (close code {code})" + (f": {words}" if words else ""),
        status_code=code,
        request_id=request_id,
        retryable=retryable,
    )


def from_frame(
    frame: object,
    *,
    what: str,
    request_id: str | None = None,
    key: ApiKey | None = None,
) -> APIError:
    """The error for an error message of the model, in any of the shapes that they come in."""
    words = _tidy(error_words(frame), key) or "the model reported an error without words"
    message = f"{what}: {words}"
    fields: list[Mapping[str, object]] = []
    if isinstance(frame, Mapping):
        nested = (frame.get("body"), frame.get("error"))
        fields = [frame, *(part for part in nested if isinstance(part, Mapping))]
    status = kind = None
    for part in fields:
        for name in ("status_code", "status", "code"):
            value = part.get(name)
            if isinstance(value, int) and 400 <= value < 600:
                status = value
        kind = kind or part.get("error_type")
    if status is None and kind == "CONFIGURATION_ERROR":
        status = 400
    if status is not None:
        headers = {"X-Baseten-Request-Id": request_id} if request_id else None
        return from_status(status, what=what, body=words, headers=headers, key=key)
    error = APIError(message, retryable=not _is_permanent(words))
    if request_id:
        return APIStatusError(
            message, status_code=500, request_id=request_id, retryable=error.retryable
        )
    return error


def from_finding(
    reason: str,
    *,
    what: str,
    mismatch: bool = False,
    status_code: int | None = None,
    request_id: str | None = None,
) -> APIError:
    """The error for what the client itself finds wrong, such as an answer that isn't the whole.

    Args:
        reason: What is wrong, and the mend where there is one.
        what: What was being done, as the start of the message.
        mismatch: The options don't fit what is there, such as a deployment of another kind, so it
            would come again.
        status_code: The HTTP status or close code that it came with or amounts to.
        request_id: Baseten's id of the request.
    """
    message = f"{what}: {reason}"
    if status_code is not None:
        return APIStatusError(
            message, status_code=status_code, request_id=request_id, retryable=not mismatch
        )
    where = f" (request {request_id})" if request_id else ""
    return APIError(message + where, retryable=not mismatch)


def handed_on(error: APIError) -> APIError:
    """The same error, for a request of which a part was handed on already."""
    error.retryable = False
    return error


def timed_out(what: str, seconds: float, *, request_id: str | None = None) -> APITimeoutError:
    """The error for an answer that didn't come in time."""
    where = f" (request {request_id})" if request_id else ""
    return APITimeoutError(f"{what}: no answer within {seconds:g} s{where}")


def from_exception(
    exc: BaseException,
    *,
    what: str,
    body: bytes | str = b"",
    key: ApiKey | None = None,
) -> APIError:
    """The error for an exception of the transport. Raise it ``from None``.

    Args:
        exc: What the transport raised.
        what: What was being done, as the start of the message.
        body: What the server said when it refused a handshake.
        key: The API key, to be kept out of the message.
    """
    if isinstance(exc, APIError):
        return exc
    if isinstance(exc, asyncio.TimeoutError):
        return APITimeoutError(f"{what}: no answer in time")
    if isinstance(exc, aiohttp.ClientResponseError):
        if exc.status == 101 or not exc.status:
            return APIConnectionError(f"{what}: the handshake's answer is wrong: {exc.message}")
        return from_status(exc.status, what=what, body=body, headers=exc.headers, key=key)
    words = _tidy(str(exc), key) or type(exc).__name__
    if isinstance(exc, (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError)):
        return APIConnectionError(
            f"{what}: the server's certificate isn't trusted: {words}. A private CA goes into "
            "SSL_CERT_FILE",
            retryable=False,
        )
    final = isinstance(exc, (aiohttp.InvalidURL, RuntimeError, TypeError, ValueError))
    return APIConnectionError(f"{what}: {words}", retryable=not final)
