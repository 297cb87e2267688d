from __future__ import annotations

from livekit.agents import APIError
from livekit.plugins.baseten_common import ApiKey, errors

from .protocols import Failed

__all__ = ["WHAT", "failure_of"]

WHAT = "text-to-speech"
"""How error messages begin."""


def failure_of(
    failed: Failed, *, key: ApiKey | None = None, request_id: str | None = None
) -> APIError:
    """The error for an utterance that won't be complete."""
    if failed.payload is not None:
        return errors.from_frame(failed.payload, what=WHAT, request_id=request_id, key=key)
    return errors.from_finding(
        failed.reason, what=WHAT, mismatch=failed.mismatch, request_id=request_id
    )
