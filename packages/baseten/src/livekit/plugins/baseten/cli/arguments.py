"""The words of the command line."""

from __future__ import annotations

import argparse
import math
from typing import Any, get_args

from livekit.plugins.baseten_common import AuthScheme
from livekit.plugins.baseten_stt import STTModels
from livekit.plugins.baseten_tts import TTSModels

from ..version import __version__
from .doctor import PARTS
from .transcribe import FORMATS

__all__ = ["PROGRAM", "parser"]

PROGRAM = "python -m livekit.plugins.baseten"

_ABOUT = """\
Try your Baseten deployments from the command line.

They are named by the same environment variables as in your agent: BASETEN_API_KEY,
BASETEN_STT_MODEL_ENDPOINT, BASETEN_TTS_MODEL_ENDPOINT, BASETEN_BASE_URL (and …_MODEL_ID,
…_CHAIN_ID). Options win over them. The key comes from the environment alone.
"""
_EXAMPLES = """\
examples:
  # is everything well, and how fast is it?
  {0} doctor
  # the same for a monitor: JSON, and exit status 1 if a check fails
  {0} doctor --json --only stt,tts
  # a picture of where the time goes
  {0} doctor --report report.html

  {0} speak "Good morning." -o morning.wav
  {0} transcribe morning.wav
  {0} chat "Why is the sky blue?"

  # an answer spoken while it is being written
  {0} chat "Tell me a story." | {0} speak -o story.wav
""".format("baseten")
_SENTENCE = "The quick brown fox jumps over the lazy dog."


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    top = argparse.ArgumentParser(
        prog=PROGRAM,
        description=_ABOUT,
        epilog=_EXAMPLES.replace("  baseten ", f"  {PROGRAM} ").replace(
            "| baseten ", f"|\n    {PROGRAM} "
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=__version__)
    top.add_argument("--api-key", action=_NoKey, help=argparse.SUPPRESS)
    commands = top.add_subparsers(dest="command", metavar="command", required=True)
    _doctor(commands)
    _speak(commands)
    _transcribe(commands)
    _chat(commands)
    return top


def _doctor(commands: Any) -> None:
    doctor = _command(
        commands,
        "doctor",
        "check key, URLs, TLS, connections and models, and measure them",
        "  %(prog)s\n"
        "  %(prog)s --only llm --llm-model openai/gpt-oss-120b\n"
        "  %(prog)s --wake 600 --report report.html\n"
        "  %(prog)s --json | jq .turn",
        timeout=10.0,
    )
    doctor.add_argument(
        "--only", type=_parts, metavar="PARTS", help="of stt,tts,llm; these must be set up then"
    )
    doctor.add_argument(
        "--text", type=_words, default=_SENTENCE, help="the sentence that is spoken and heard"
    )
    doctor.add_argument("--audio", metavar="FILE", help="a recording to hear in its place")
    doctor.add_argument(
        "--wake",
        type=_seconds,
        default=300.0,
        metavar="S",
        help="seconds to wait for a model that is asleep or starting (default: 300; 0 doesn't)",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON in place of the table")
    doctor.add_argument(
        "--report", metavar="FILE", help="write a page with a latency waterfall; .svg: the picture"
    )
    for add in (_stt, _tts, _llm):
        add(doctor)


def _speak(commands: Any) -> None:
    speak = _command(
        commands,
        "speak",
        "speak a text",
        '  %(prog)s "Good morning." -o morning.wav\n'
        "  %(prog)s -o letter.wav < letter.txt\n"
        '  %(prog)s "Good morning." | aplay',
        timeout=30.0,
    )
    speak.add_argument("text", nargs="*", help="what to say; standard input when left out")
    speak.add_argument(
        "-o", "--output", metavar="FILE", help="WAV file; a pipe on standard output when left out"
    )
    _tts(speak)


def _transcribe(commands: Any) -> None:
    transcribe = _command(
        commands,
        "transcribe",
        "transcribe a recording",
        "  %(prog)s call.wav\n  %(prog)s call.mp3 --format srt > call.srt\n"
        "  curl … | %(prog)s - --format json",
        timeout=30.0,
    )
    transcribe.add_argument("file", help="WAV, MP3, FLAC, Ogg, …; - for standard input")
    transcribe.add_argument(
        "--format", choices=list(FORMATS), default="text", help="default: %(default)s"
    )
    _stt(transcribe)


def _chat(commands: Any) -> None:
    chat = _command(
        commands,
        "chat",
        "ask the language model",
        '  %(prog)s "Why is the sky blue?"\n'
        '  %(prog)s --system "Answer in French." "Good morning!"\n'
        '  git diff | %(prog)s --system "Summarize this change."',
        timeout=30.0,
    )
    chat.add_argument("text", nargs="*", help="the question; standard input when left out")
    chat.add_argument("--system", metavar="TEXT", help="instructions that go before it")
    _llm(chat)


def _command(
    commands: Any, name: str, about: str, examples: str, *, timeout: float
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--api-key", action=_NoKey, help=argparse.SUPPRESS)
    command.add_argument("-q", "--quiet", action="store_true", help="nothing on standard error")
    command.add_argument(
        "--timeout",
        type=_positive,
        default=timeout,
        metavar="S",
        help="seconds to wait for each answer (default: %(default)g)",
    )
    command.add_argument("--environment", metavar="NAME", help="of what is named by its id")
    command.add_argument(
        "--auth-scheme", choices=get_args(AuthScheme), help="how the key is presented"
    )
    return command


def _stt(command: argparse.ArgumentParser) -> None:
    group = _endpoint(command, "stt", "speech-to-text")
    group.add_argument("--stt-model", choices=get_args(STTModels), help="what is deployed there")
    group.add_argument("--stt-language", metavar="CODE", help="the language spoken, or auto")


def _tts(command: argparse.ArgumentParser) -> None:
    group = _endpoint(command, "tts", "text-to-speech")
    group.add_argument("--tts-model", choices=get_args(TTSModels), help="what is deployed there")
    group.add_argument("--tts-voice", metavar="NAME", help="the speaker")
    group.add_argument("--tts-language", metavar="NAME", help="the language to speak")


def _llm(command: argparse.ArgumentParser) -> None:
    group = _endpoint(command, "llm", "language model")
    group.add_argument("--llm-model", metavar="SLUG", help="the model to ask for")


def _endpoint(command: argparse.ArgumentParser, part: str, title: str) -> Any:
    group = command.add_argument_group(title)
    if part == "llm":
        group.add_argument("--llm-base-url", metavar="URL", help="where to ask, up to /v1")
    else:
        group.add_argument(
            f"--{part}-endpoint",
            dest=f"{part}_model_endpoint",
            metavar="URL",
            help="full URL of the deployment",
        )
    group.add_argument(f"--{part}-model-id", metavar="ID", help="id of the model")
    group.add_argument(f"--{part}-chain-id", metavar="ID", help="id of the chain")
    group.add_argument(
        f"--{part}-option",
        action="append",
        metavar="NAME=VALUE",
        help="any option of the component; the value as JSON or text",
    )
    return group


class _NoKey(argparse.Action):
    """Refuses a key without a word of it, where argparse would repeat it as unknown."""

    def __init__(self, option_strings: list[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs="?", **options)

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        parser.error(
            "the key isn't taken from the command line, which others can read: set BASETEN_API_KEY"
        )


def _parts(text: str) -> list[str]:
    named = [part.strip().upper() for part in text.split(",") if part.strip()]
    if not named or not set(named) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"takes some of stt,tts,llm; got {text!r}")
    return [part for part in PARTS if part in named]


def _words(text: str) -> str:
    if not any(map(str.isalnum, text)):
        raise argparse.ArgumentTypeError("takes words, which can be spoken and heard")
    return text


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"takes seconds, from 0; got {text!r}")
    return value


def _positive(text: str) -> float:
    value = _seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value
