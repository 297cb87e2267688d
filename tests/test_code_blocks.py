"""Every code block of every Markdown file is run, or checked as far as it can be here.

A block that nothing here knows fails a test: run it, or say in ``COMMANDS`` or ``SHOWN`` what does.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import yaml
from markdown_it import MarkdownIt

from livekit.plugins.baseten import TTS
from livekit.plugins.baseten.cli.arguments import parser
from livekit.plugins.baseten_sandbox import Sandbox
from livekit.plugins.baseten_sandbox.background import BackgroundSandbox
from livekit.plugins.baseten_stt.options import STTOptions
from livekit.plugins.baseten_stt.protocols.whisper import WhisperProtocol
from surroundings import surroundings

ROOT = Path(__file__).parent.parent
SHELLS = ("bash", "console", "sh", "shell")
DATA = {"json": json.loads, "yaml": yaml.safe_load}


@dataclass(frozen=True)
class Block:
    """A piece of code in a Markdown file; ``before`` is what stands in the line above it."""

    page: Path
    line: int
    language: str
    code: str
    before: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for token in MarkdownIt().parse(text):
        if token.type in ("fence", "code_block"):
            assert token.map
            line = token.map[0]
            # A block without a fence has no language: here it is a command.
            language = token.info if token.type == "fence" else "shell"
            before = text.splitlines()[line - 1] if line else ""
            yield Block(page, line + 1, language.strip(), token.content, before)


FILES = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
).stdout.split()
BLOCKS = [block for name in FILES if (ROOT / name).exists() for block in blocks_of(ROOT / name)]


def these(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def test_every_block_has_a_language_that_is_checked() -> None:
    known = {"", "text", "python", *SHELLS, *DATA}
    assert not [str(block) for block in BLOCKS if block.language not in known]


def test_data_is_what_it_calls_itself() -> None:
    for block in these(*DATA):
        assert DATA[block.language](block.code) is not None, str(block)


# --- Python


def is_test(block: Block) -> bool:
    return "def test_" in block.code


# On a page a name may be given anew for each way to write a thing, and a session whose agent keeps
# no data needn't say so. In the files, so that mypy's cache serves here too.
LENIENT = '# mypy: allow-redefinition, disable-error-code="var-annotated"'


def waits(code: str) -> bool:
    """Whether it awaits outside of a function."""
    try:
        compile(code, "block", "exec")
    except SyntaxError:
        return True
    return False


@pytest.mark.timeout(300)
def test_python_has_the_types_that_it_uses(tmp_path: Path) -> None:
    """Also where it awaits, and so can't be run for want of a deployment."""
    for number, block in enumerate(these("python")):
        if is_test(block):
            continue
        code = block.code
        if waits(code):
            code = f"async def block() -> None:\n{textwrap.indent(code, '    ')}"
        # The name says in mypy's complaints which page is meant.
        name = re.sub(r"\W", "_", str(block.page.relative_to(ROOT).with_suffix("")))
        code = f"{LENIENT}\n{code}"
        (tmp_path / f"{name}_{block.line}_{number}.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", *sorted(tmp_path.glob("*.py"))]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=surroundings(MYPYPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr


MY_AGENT = '''
"""As much of an agent as its test asks for: it hears a question, and says it again."""

import wave

from livekit import rtc
from livekit.agents import utils
from livekit.agents.stt import SpeechEventType
from livekit.plugins import baseten


async def ask(path):
    with wave.open(path) as file:
        pcm = file.readframes(file.getnframes())
    async with utils.http_context.open(), baseten.STT() as ears, ears.stream() as stream:
        for at in range(0, len(pcm), 640):
            piece = pcm[at : at + 640]
            stream.push_frame(rtc.AudioFrame(piece, 16000, 1, len(piece) // 2))
        stream.end_input()
        return " ".join(
            [
                event.alternatives[0].text
                async for event in stream
                if event.type is SpeechEventType.FINAL_TRANSCRIPT
            ]
        )
'''

# Words become sounds in the process that knows them.
QUESTION = """
import wave

from livekit.plugins.baseten_sandbox.engines.tones import silence, speak

with wave.open("question.wav", "wb") as file:
    file.setparams((1, 2, 16000, 0, "NONE", ""))
    file.writeframes(speak("shall we meet tomorrow")[0].tobytes() + silence(0.8).tobytes())
"""


@pytest.mark.timeout(120)
def test_tests_pass_as_they_stand(tmp_path: Path) -> None:
    blocks = [block for block in these("python") if is_test(block)]
    assert blocks
    (tmp_path / "my_agent.py").write_text(MY_AGENT)
    (tmp_path / "conftest.py").write_text(QUESTION)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nbaseten_sandbox_engines = tones\npythonpath = .\n"
    )
    for number, block in enumerate(blocks):
        (tmp_path / f"test_block_{number}.py").write_text(block.code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d passed", done.stdout)


# --- commands


def commands(block: Block) -> Iterator[str]:
    """The commands of a block, each with its further lines and without comments."""
    for line in re.sub(r"\\\n\s*", "", block.code).splitlines():
        if words := shlex.split(line, comments=True):
            # What is quoted stays so: a comment is cut off, nothing else.
            end = re.search(r"\s+# ", line)
            yield (line[: end.start()] if end else line).strip() if words else ""


LINES = [(block, line) for block in these(*SHELLS) for line in commands(block)]


def exists(*words: str) -> None:
    """The files that a command names are there, and its options stand in the program."""
    (program,) = (ROOT / word for word in words if word.endswith(".py") or word == ".ci/run")
    assert program.is_file()
    source = "".join(path.read_text(encoding="utf-8") for path in program.parent.glob("*.py"))
    for word in words[words.index(str(program.relative_to(ROOT))) :]:
        if word.startswith("--"):
            assert f'"{word}"' in source, word


def is_ours(*names: str) -> None:
    """A distribution is one of this workspace, its extras are declared, and its range holds it."""
    for name in names:
        found = re.fullmatch(r"livekit-plugins-(baseten[\w-]*)(?:\[(\w+)\])?(<1)?", name)
        assert found, name
        project = (ROOT / "packages" / found[1] / "pyproject.toml").read_text()
        assert found[2] is None or re.search(rf"^{found[2]} = \[", project, re.M), name
        # Without a bound, pip would take LiveKit's own plugin.
        assert (found[1] == "baseten") == (found[3] == "<1"), name


def is_read(*settings: str) -> None:
    """The environment variables are ones that the packages read."""
    sources = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "packages").glob("*/src/**/*.py")
    )
    for setting in settings:
        name = setting.partition("=")[0]
        part = re.fullmatch(r"BASETEN_(STT|TTS|LLM)_(\w+)", name)
        assert name in sources or (part and f"_{part[2]}" in sources), name


def is_collected(*words: str) -> None:
    """The tests that pytest is to run exist, and so do the markers that leave some out."""
    markers = re.findall(r'^    "(\w+): ', (ROOT / "pyproject.toml").read_text(), re.M)
    for at, word in enumerate(words):
        if words[at - 1] == "-m":
            assert set(re.findall(r"\w+", word)) - {"not", "and", "or"} <= set(markers)
        elif "/" in word:
            assert (ROOT / word).exists()


def is_truss(folder: str) -> None:
    config = yaml.safe_load((ROOT / folder / "config.yaml").read_text())
    assert config["model_name"]


# What a command looks like, and either the test that runs it, or what can be checked where running
# it would take an account, a published package, minutes, or other hosts.
COMMANDS: list[tuple[str, str | Callable[..., None]]] = [
    # run below, as they stand
    (r"(?:pip install uv && )?uv run (examples/voice_turn\.py.*)", "test_voice_turn_prints_that"),
    (r"(?:uv run )?python -m livekit\.plugins\.baseten .*", "test_the_cli_does_that"),
    (r"curl .*", "test_the_sandbox_takes_faults_so"),
    (r"python scripts/release\.py bump .*", "test_a_package_is_bumped_so"),
    # run by other tests
    (r"pip install (?:\./packages/[\w-]+ ?)+", "tests/test_install.py::test_the_readme_s_install"),
    (
        r"baseten-sandbox",
        "packages/baseten-sandbox/tests/test_cli.py::test_it_tells_what_to_export_and_stops",
    ),
    (
        r"(?:HEALTH_PORT=\d+ python|uv run) examples/(?:fleet/worker|voice_agent)\.py start(?: &)?",
        "tests/test_examples.py::test_workers_side_by_side_register",
    ),
    (
        r"(?:uv run )?baseten-sandbox --agent (?:my_agent|examples/[\w/]+)\.py",
        "test_the_page_talks_to_the_agent",
    ),
    # the gate and the tests: what runs this
    (r"uv sync", lambda: None),
    (r"(\.ci/run)", exists),
    (r"(?:pip install uv && )?uv run pytest ?(.*)", is_collected),
    (r"uv run --group docs (mkdocs) .*", lambda _: None),  # tests/test_docs.py builds the site
    # minutes; .ci/run has the first
    (r"python (\.ci/(?:packages|matrix)\.py.*)", exists),
    (r"(?:uv run (?:--with atheris )?)?python (benchmarks/.*)", exists),
    # names that are published only with a release; .ci/packages.py installs their wheels
    (r"pip install ((?:'|\"|)livekit-plugins-baseten.*)", is_ours),
    # an account at Baseten; tests/truss runs both trusses in Baseten's server
    (r"pip install truss", lambda: None),
    (r"truss push (.*)", is_truss),
    (r"export (.*)", is_read),
]


def known(line: str) -> tuple[re.Match[str], str | Callable[..., None]] | None:
    for pattern, how in COMMANDS:
        if match := re.fullmatch(pattern, line):
            return match, how
    return None


@pytest.mark.parametrize(("block", "line"), LINES, ids=lambda value: str(value)[:60])
def test_every_command_is_run_or_checked(block: Block, line: str) -> None:
    found = known(line)
    assert found, f"{block}: no test knows the command {line!r}"
    match, how = found
    if callable(how):
        how(*(word for group in match.groups("") for word in shlex.split(group)))
        return
    page, _, name = how.rpartition("::")
    source = (ROOT / page if page else Path(__file__)).read_text(encoding="utf-8")
    assert re.search(rf"^(?:async )?def {name}", source, re.M), how


UV = r"^(?:pip install uv && )?(?:uv run )?"


def shown(pattern: str) -> list[str]:
    """All commands that look so, each once, to run in the environment of the tests: without uv."""
    lines = [re.sub(r"^(?=examples/)", "python ", re.sub(UV, "", line)) for _, line in LINES]
    found = list(dict.fromkeys(line for line in lines if re.fullmatch(pattern, line)))
    assert found
    return found


def runs(line: str, cwd: Path, **environ: str) -> str:
    """Run a line in a shell, as its reader does; what it prints."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env=surroundings(PATH=path, **environ),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def without_figures(text: str) -> list[str]:
    """What doesn't change from run to run."""
    return re.sub(r"[█▏▎▍▌▋▊▉]+|\d+(?:\.\d+)? (?:ms|s)", " ", text).split()


@pytest.mark.models
@pytest.mark.timeout(120)
@pytest.mark.parametrize("line", shown(r"python examples/voice_turn\.py.*"))
def test_voice_turn_prints_that(line: str, tmp_path: Path) -> None:
    for folder in ("examples", "tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    printed = runs(line, tmp_path)
    (block,) = (each for each in BLOCKS if each.before == "<!-- voice_turn -->")
    assert without_figures(block.code) == without_figures(printed[printed.index("You:") :])
    assert (tmp_path / "answer.wav").stat().st_size > 100_000


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Mapping[str, str]]:
    with BackgroundSandbox(transcriber="tones", synthesizer="tones") as sandbox:
        yield sandbox.environ()


@pytest.mark.timeout(300)
def test_the_cli_does_that(sandbox: Mapping[str, str], tmp_path: Path) -> None:
    lines = shown(r"python -m livekit\.plugins\.baseten .*")
    # In the order of the page: the second reads what the first has written.
    for line in lines:
        parser().parse_args(shlex.split(line.partition("livekit.plugins.baseten ")[2]))
        assert runs(line, tmp_path, **sandbox).strip() or "speak" in line
    assert (tmp_path / "morning.wav").exists()


# What is typed to each agent that a page names, and a part of its answer.
SAID_TO = {
    "examples/voice_agent.py": ("What is two plus two?", "four"),
    "examples/fleet/worker.py": ("What is two plus two?", "four"),
    "examples/restaurant/agent.py": ("I would like to order two pizzas.", "two pizza"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("line", shown(r"baseten-sandbox --agent examples/.*"))
async def test_the_page_talks_to_the_agent(line: str) -> None:
    agent = line.split()[-1]
    question, answered = SAID_TO[agent]
    async with (
        Sandbox(transcriber="tones", synthesizer="tones", agent=ROOT / agent) as sandbox,
        aiohttp.ClientSession() as browser,
        browser.ws_connect(f"{sandbox.origin}/talk", headers={"Origin": sandbox.origin}) as page,
    ):
        await page.send_json({"type": "start", "sample_rate": 16000})

        async def listen() -> None:
            while True:  # as the page does while nobody speaks
                await page.send_bytes(bytes(640))
                await asyncio.sleep(0.02)

        async def converse() -> list[str]:
            said, heard = [], 0
            async for message in page:
                if message.type is aiohttp.WSMsgType.BINARY:
                    heard += len(message.data)
                    continue
                event = json.loads(message.data)
                if event["type"] == "speech":
                    heard = 0
                    await page.send_json({"type": "started", "segment": event["segment"]})
                elif event["type"] == "speech_end":
                    end = {"segment": event["segment"], "position": heard / 48000}
                    await page.send_json({"type": "finished", **end})
                elif event["type"] == "said":
                    said.append(event["text"])
                    if len(said) == 2:
                        return said
                    await page.send_json({"type": "text", "text": question})
                assert event["type"] != "problem", event
            return said

        microphone = asyncio.create_task(listen())
        try:
            greeting, answer = await asyncio.wait_for(converse(), 90)
        finally:
            microphone.cancel()
            await asyncio.gather(microphone, return_exceptions=True)
    assert greeting
    assert answered in answer


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_sandbox_takes_faults_so(sandbox: Mapping[str, str], tmp_path: Path) -> None:
    base = sandbox["BASETEN_BASE_URL"].removesuffix("/v1")
    for line in shown("curl .*"):
        assert "sandbox-key" in line
        printed = runs(
            "curl --fail --silent --show-error "
            + line.removeprefix("curl ")
            .replace("http://127.0.0.1:8700", base)
            .replace("sandbox-key", sandbox["BASETEN_API_KEY"]),
            tmp_path,
        )
        assert json.loads(printed)


def test_a_package_is_bumped_so(tmp_path: Path) -> None:
    for path in ROOT.glob("packages/*/**/*"):
        if path.name in ("version.py", "CHANGELOG.md", "pyproject.toml") and path.is_file():
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text(encoding="utf-8")
            if path.name == "CHANGELOG.md" and "## Unreleased" not in text:
                text = text.replace("\n## ", "\n## Unreleased\n\n- Something.\n\n## ", 1)
            copy.write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    for line in shown(r"python scripts/release\.py .*"):
        assert "-v" in runs(line, tmp_path)


# --- what is printed, or drawn


SHOWN = {
    "<!-- doctor -->": "packages/baseten/tests/test_readme.py::test_the_doctor_prints_that",
    "<!-- voice_turn -->": "tests/test_code_blocks.py::test_voice_turn_prints_that",
    "<!-- drawing -->": "tests/test_code_blocks.py::test_the_drawing_holds",
}


@pytest.mark.parametrize("block", these("", "text"), ids=str)
def test_all_that_is_shown_is_held_against_something(block: Block) -> None:
    assert block.before in SHOWN, f"{block}: no test compares this with what is printed"
    page, _, name = SHOWN[block.before].partition("::")
    assert f"def {name}" in (ROOT / page).read_text(encoding="utf-8")


def test_the_drawing_holds() -> None:
    (drawing,) = (block.code for block in BLOCKS if block.before == "<!-- drawing -->")
    frame = WhisperProtocol(STTOptions(model="whisper", language="en")).frame_samples
    assert all(word in re.sub(r"[▼│ ]+", " ", drawing) for word in ("STT", "LLM", "TTS"))
    assert f"{frame}-" in drawing
    tts = TTS(api_key="key", model_id="abcd1234")
    assert f"PCM {tts.sample_rate // 1000} kHz" in drawing
