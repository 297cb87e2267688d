"""The ``baseten-sandbox`` command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .control import load_fault_file
from .engines.loading import parts
from .faults import Fault
from .live import LiveView
from .progress import ProgressBar
from .sandbox import Sandbox
from .version import __version__

if TYPE_CHECKING:
    from .engines.dialogue import ChatEngine
    from .engines.pool import SynthesizerName

__all__ = ["main"]


def _seconds(text: str) -> float:
    value = float(text)
    if value < 0:
        raise argparse.ArgumentTypeError("can't be negative")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError("must be 0 to 65535")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="baseten-sandbox",
        description="A local Baseten: its wire protocols on small real models, on loopback.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "command", nargs="?", choices=["serve"], default="serve", help="serve is the default"
    )
    listen = parser.add_argument_group("listening")
    listen.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    listen.add_argument("--port", type=_port, default=8700, help="0 for any (default: 8700)")
    listen.add_argument("--api-key", default="sandbox-key", help="default: %(default)s")
    listen.add_argument("--tls", action="store_true", help="https and wss")
    watch = parser.add_argument_group("talking and watching")
    watch.add_argument(
        "--agent", metavar="FILE", help="your agent, for the page at / (needs the extra 'talk')"
    )
    watch.add_argument("--no-view", action="store_true", help="don't show the sessions here")
    models = parser.add_argument_group("models")
    models.add_argument("--whisper-model", metavar="FOLDER", help="another CTranslate2 Whisper")
    models.add_argument(
        "--moonshine",
        action="store_true",
        help="Moonshine in place of Whisper: several times faster",
    )
    models.add_argument(
        "--languages",
        action="store_true",
        help="voices for German, Spanish, French and Italian, such as 'de' (needs the extra)",
    )
    models.add_argument(
        "--tones", action="store_true", help="synthetic speech in place of the real models"
    )
    models.add_argument(
        "--smollm", action="store_true", help="SmolLM2 in place of the rules (needs the extra)"
    )
    models.add_argument("--llm-url", metavar="URL", help="an OpenAI-compatible server, up to /v1")
    models.add_argument("--llm-model", metavar="NAME", help="the model to ask that server for")
    models.add_argument("--llm-api-key", metavar="KEY", help="the key of that server")
    trouble = parser.add_argument_group("trouble")
    trouble.add_argument(
        "--round-trip", type=_seconds, default=0.0, metavar="S", help="seconds of distance"
    )
    trouble.add_argument("--bandwidth", type=_seconds, metavar="BYTES", help="bytes per second")
    trouble.add_argument(
        "--lifetime", type=_seconds, metavar="S", help="cut WebSockets after so long"
    )
    trouble.add_argument("--faults", metavar="FILE", help="a JSON file of faults to inject")
    trouble.add_argument("--record", metavar="FILE", help="write each session as JSON lines")
    trouble.add_argument(
        "--replay", metavar="FILE", help="play recorded sessions in place of the models"
    )
    trouble.add_argument(
        "--no-control", action="store_true", help="no /sandbox/ routes on this server"
    )
    return parser


def _chat(options: argparse.Namespace) -> ChatEngine | None:
    if options.smollm:
        if options.llm_url is not None:
            raise ValueError("one of --smollm and --llm-url answers: leave the other out")
        from .engines.smollm import SmolEngine

        return SmolEngine()
    if options.llm_url is None:
        return None
    from .engines.upstream import UpstreamEngine

    return UpstreamEngine(options.llm_url, model=options.llm_model, api_key=options.llm_api_key)


def _transcriber(options: argparse.Namespace) -> Any:
    if options.tones:
        return "tones"
    if options.moonshine:
        return "moonshine"
    if options.whisper_model is None:
        return None
    folder = Path(options.whisper_model)
    if not (folder / "model.bin").is_file():
        raise ValueError(f"{folder} holds no CTranslate2 model (no model.bin)")
    from .engines.whisper import WhisperTranscriber

    return WhisperTranscriber(model=folder)


def _synthesizer(options: argparse.Namespace) -> SynthesizerName | None:
    if options.tones:
        return "tones"
    return "polyglot" if options.languages else None


def _agent(options: argparse.Namespace) -> Path | None:
    if options.agent is None:
        return None
    path = Path(options.agent)
    if not path.is_file():
        raise ValueError(f"there is no agent file {path}")
    # What the agent prints, whoever writes it wants to read.
    logging.getLogger("livekit.plugins.baseten_sandbox.agent").setLevel(logging.INFO)
    return path


async def _serve(options: argparse.Namespace) -> None:
    began = time.monotonic()
    sandbox = Sandbox(
        host=options.host,
        port=options.port,
        api_key=options.api_key,
        tls=options.tls,
        transcriber=_transcriber(options),
        synthesizer=_synthesizer(options),
        chat=_chat(options),
        round_trip=options.round_trip,
        bandwidth=options.bandwidth or None,
        lifetime=options.lifetime,
        agent=_agent(options),
        record=options.record,
        replay=options.replay,
        keep=False,
        control=not options.no_control,
    )
    if options.faults is not None:
        load_fault_file(Path(options.faults), sandbox.faults)
    # The signals are taken over first: one that comes while the models load is heeded too.
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # On Windows a loop takes none: there Ctrl-C comes as a KeyboardInterrupt, heeded in main().
    if sys.platform != "win32":
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    async with sandbox:
        # A replay may well need no model at all; where it does, one is loaded when it is.
        steps = [] if options.replay else parts(sandbox.engines, sandbox.chat)
        bar = ProgressBar(len(steps))
        try:
            for name, load in steps:
                bar.step(f"loading {name}")
                await loop.run_in_executor(None, load)
                if stop.is_set():
                    return
        finally:
            bar.finish()
        exports = " ".join(f"{k}={shlex.quote(v)}" for k, v in sandbox.environ().items())
        sys.stdout.write(
            f"Ready on {sandbox.origin} after {time.monotonic() - began:.1f} s. "
            f"Stop with Ctrl-C.\n\nexport {exports}\n\n"
            f"Talk to an agent: {sandbox.origin}/\n"
        )
        sys.stdout.flush()
        view = contextlib.nullcontext() if options.no_view else LiveView(sandbox)
        async with view:
            await stop.wait()
        # What a replica that is shut down says.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(sandbox.strike(Fault(do="close", code=1012, reason="")), 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(argv)
    try:
        asyncio.run(_serve(options))
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        where = f"{options.host}:{options.port}"
        reason = error.strerror or str(error)
        if error.filename is not None:
            return _failed(f"{error.filename}: {reason}")
        return _failed(f"can't listen on {where}: {reason} (choose another with --port)")
    except (ValueError, ImportError) as error:
        return _failed(str(error))
    return 0


def _failed(message: str) -> int:
    sys.stderr.write(f"baseten-sandbox: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
