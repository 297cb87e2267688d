"""``main``: runs a command; whatever goes wrong is one clear line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Sequence

from livekit.agents import APIError
from livekit.plugins.baseten_common import ApiKey

from .advice import one_line
from .arguments import PROGRAM, parser
from .chat import chat
from .doctor import doctor
from .speak import speak
from .transcribe import transcribe

__all__ = ["main"]

_COMMANDS = {"doctor": doctor, "speak": speak, "transcribe": transcribe, "chat": chat}
_PARTS = {"speak": "TTS", "transcribe": "STT", "chat": "LLM"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit status: 0, 1 when something failed, 130 when it was stopped. Arguments that make
        no sense exit with 2.
    """
    given = parser().parse_args(argv)
    with _OneLineLogs(quiet=given.quiet):
        try:
            _check_authorities()
            return asyncio.run(_COMMANDS[given.command](given))
        except KeyboardInterrupt:
            sys.stderr.write("\nstopped\n")
            return 130
        except BrokenPipeError:
            # Whoever reads has enough. Python would complain again when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except OSError as e:
            where = f"{e.filename}: " if e.filename is not None else ""
            return _failed(f"{where}{e.strerror or e}")
        except (ValueError, APIError) as e:
            return _failed(one_line(e, part=_PARTS.get(given.command, "")))
        except Exception as e:
            return _failed(f"unexpected: {type(e).__name__}: {e}")


def _check_authorities() -> None:
    # TLS itself says no more than that there is no such file.
    path = os.environ.get("SSL_CERT_FILE")
    if path is not None and not os.path.isfile(path):
        raise ValueError(f"SSL_CERT_FILE names no file: {path!r}. Correct it, or unset it")


def _failed(message: str) -> int:
    message = " ".join(message.split())
    with contextlib.suppress(ValueError):
        message = ApiKey.resolve().redact(message)
    sys.stderr.write(f"{PROGRAM}: {message}\n")
    return 1


class _OneLineLogs:
    """Shows warnings of the components as a line each, and nothing of the framework's."""

    def __init__(self, *, quiet: bool) -> None:
        self._logger = logging.getLogger("livekit")
        self._handler = _Handler(quiet=quiet)

    def __enter__(self) -> None:
        self._propagated = self._logger.propagate
        self._logger.propagate = False
        self._logger.addHandler(self._handler)

    def __exit__(self, *exc: object) -> None:
        self._logger.removeHandler(self._handler)
        self._logger.propagate = self._propagated


class _Handler(logging.Handler):
    def __init__(self, *, quiet: bool) -> None:
        super().__init__(logging.WARNING)
        self._quiet = quiet

    def emit(self, record: logging.LogRecord) -> None:
        if not self._quiet and record.name.startswith("livekit.plugins.baseten"):
            sys.stderr.write(f"{record.getMessage()}\n")
