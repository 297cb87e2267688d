from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp

from . import errors
from .acquisition import Acquisition
from .credentials import ApiKey
from .deadlines import MIN_BYTES_PER_SECOND, within

__all__ = ["HTTPStream"]


class HTTPStream:
    """A successful answer whose body is still coming in.

    Attributes:
        status: The HTTP status.
        headers: The answer's headers.
        content_type: The media type, without parameters.
        request_id: Baseten's id of the request.
        acquire_time: Seconds that the request waited for its connection.
        reused: Whether that was open already.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        *,
        what: str,
        key: ApiKey,
        read_timeout: float,
        timed: bool = False,
        due: asyncio.Future[None] | None = None,
        connection: Acquisition,
    ) -> None:
        """Wrap a response; see :meth:`Transport.post`.

        Args:
            response: The answer, of which the head has come.
            what: What is being done, as the start of error messages.
            key: The API key, to be kept out of them.
            read_timeout: Seconds between any two parts of the body, and by which it may fall
                behind.
            timed: Whether the response itself sees to the time between two parts.
            due: Done when the body is needed; until then it may take its time.
            connection: What the request went over.
        """
        self._due = due
        self._patience = read_timeout
        self._read_timeout = None if timed else read_timeout
        self._response = response
        self.request_id = request_id = errors.request_id(response.headers)
        self._what = f"{what} (request {request_id})" if request_id else what
        self._key = key
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.content_type = response.content_type
        self.acquire_time = connection.seconds
        self.reused = connection.reused

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, in pieces of any size.

        Raises:
            APIError: the connection broke before the body's end, or a part didn't come in time.
        """
        start, received = time.monotonic(), 0
        try:
            while True:
                early = self._due is not None and not self._due.done()
                reading = self._response.content.readany()
                chunk = await within(self._read_timeout, reading, due=self._due)
                if not chunk:
                    return
                if early:
                    start, received = time.monotonic(), 0
                received += len(chunk)
                if time.monotonic() - start > self._patience + received / MIN_BYTES_PER_SECOND:
                    raise errors.timed_out(f"{self._what}: the rest", self._patience)
                yield chunk
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as e:
            raise errors.from_exception(e, what=self._what, key=self._key) from None

    async def read(self, *, limit: int) -> bytes:
        """The whole body.

        Args:
            limit: Bytes to take at most.

        Raises:
            APIError: the body is larger, broke off, or a part didn't come in time.
        """
        parts = bytearray()
        async for chunk in self.chunks():
            parts += chunk
            if len(parts) > limit:
                raise errors.from_finding(
                    f"the answer is larger than {limit} bytes", what=self._what, mismatch=True
                )
        return bytes(parts)
