from __future__ import annotations

import asyncio
import base64
import os

from livekit.plugins.baseten_common import errors

from .failures import WHAT
from .options import Options
from .protocols.registry import Dialect

__all__ = ["SessionConfig", "check_clip", "is_remote", "read_clip"]

_MAX_CLIP = 3 * 2**20  # bytes; the server takes a configuration of 4 MiB


class SessionConfig:
    """The configuration that a connection needs before its first utterance.

    Attributes:
        options: The options that new connections are dialled with.
    """

    def __init__(self, dialect: Dialect, options: Options) -> None:
        """Keep the options; files are read when they are needed."""
        self._dialect = dialect
        self.options = options
        self._clips: dict[str, str] = {}

    async def current(self) -> str:
        """The configuration as the options are now; blank when the protocol has none."""
        return await self.message(self.options)

    async def message(self, options: Options) -> str:
        """The configuration for these options.

        Raises:
            APIError: the reference audio can't be read any more.
        """
        if self._dialect.config is None:
            return ""
        clip = options.ref_audio
        if clip and not is_remote(clip):
            if clip not in self._clips:
                try:
                    self._clips[clip] = await read_clip(clip)
                except OSError as e:
                    raise errors.from_finding(
                        f"ref_audio can't be read: {e.strerror}", what=WHAT, mismatch=True
                    ) from None
            clip = self._clips[clip]
        return self._dialect.config(options, clip)

    def forget_clips(self) -> None:
        """Read the files anew when they are next needed."""
        self._clips.clear()


def is_remote(clip: str) -> bool:
    """Whether a clip is named by a URL rather than by a file."""
    return clip.startswith(("http://", "https://", "data:"))


def check_clip(clip: str | None, *, limit: int = _MAX_CLIP) -> None:
    """Check that a clip can be used.

    Raises:
        ValueError: it is neither a URL nor a readable file, or is too large to be sent.
    """
    if not clip or is_remote(clip):
        return
    if not os.path.isfile(clip) or not os.access(clip, os.R_OK):
        raise ValueError(f"{clip!r} is neither an http(s) URL nor a file that can be read")
    size = os.path.getsize(clip)
    if not 0 < size <= limit:
        raise ValueError(f"{clip!r} has {size} bytes; a clip must have 1 to {limit}")


async def read_clip(path: str) -> str:
    """A file in base64, read off the event loop.

    Raises:
        OSError: it can't be read.
    """

    def read() -> str:
        with open(path, "rb") as f:
            return base64.b64encode(f.read()).decode()

    return await asyncio.to_thread(read)
