"""Hands what the ``openai`` client raises to the project's one table of errors.

Which error is raised and whether it is retried is decided in ``baseten_common.errors``.
"""

from __future__ import annotations

import asyncio
import ssl

import httpx2 as httpx
import openai

from livekit.agents import APIError, APIStatusError
from livekit.plugins.baseten_common import ApiKey, errors

from .answers import FailureFrame

__all__ = ["failure_of", "pause_asked_for"]

_WHAT = "LLM"


def failure_of(
    exc: Exception, *, model: str, dedicated: bool, seconds: float, key: ApiKey | None
) -> APIError:
    """The error for an exception of the client, or of reading an answer.

    Args:
        exc: The exception. It mustn't be chained: its request holds the API key.
        model: What was asked for.
        dedicated: Whether a dedicated deployment was asked, rather than the Model APIs.
        seconds: How long an answer was waited for.
        key: The API key, to be kept out of the message.
    """
    if isinstance(exc, APIError):
        return exc
    if isinstance(exc, FailureFrame):
        return errors.from_frame(exc.frame, what=_WHAT, key=key)
    if isinstance(exc, (asyncio.TimeoutError, openai.APITimeoutError, httpx.TimeoutException)):
        return errors.timed_out(_WHAT, seconds)
    if isinstance(exc, openai.APIStatusError):
        error = errors.from_status(
            exc.status_code,
            what=_WHAT,
            body=exc.response.content,
            headers=exc.response.headers,
            key=key,
        )
        return error if dedicated else _explained(error, model, errors.error_words(exc.body), key)
    if isinstance(exc, ValueError):
        # What is unreadable now may well be whole the next time.
        return errors.from_exception(ConnectionError(str(exc)), what=_WHAT, key=key)
    if isinstance(exc, (AttributeError, TypeError)):
        # The client takes any JSON, or none, for what it asked for.
        unread = ConnectionError("the answer isn't one of an OpenAI-compatible server")
        return errors.from_exception(unread, what=_WHAT, key=key)
    return errors.from_exception(_root(exc), what=_WHAT, key=key)


def pause_asked_for(exc: Exception) -> float | None:
    """Seconds that the server asks to wait before another try; None when it doesn't say."""
    if isinstance(exc, openai.APIStatusError):
        return errors.retry_after(exc.response.headers)
    return None


def _explained(error: APIError, model: str, words: str, key: ApiKey | None) -> APIError:
    if not isinstance(error, APIStatusError) or error.status_code != 404:
        return error
    message = (
        f"{_WHAT}: the model {model!r} is retired, or not enabled in this workspace (HTTP 404); "
        "`await llm.list_models()` lists those that are"
    )
    if words:
        message += f". The server says: {key.redact(words) if key else words}"[:500]
    return APIStatusError(message, status_code=404, request_id=error.request_id)


def _root(exc: BaseException) -> BaseException:
    """The exception that tells most: a refused certificate if there is one, else the first cause."""
    root, seen = exc, {id(exc)}
    while (cause := root.__cause__ or root.__context__) is not None and id(cause) not in seen:
        seen.add(id(cause))
        root = cause
        if isinstance(root, ssl.SSLCertVerificationError):
            break
    return root
