"""What the Markdown files say is held against the code."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
from pathlib import Path

import pytest

from livekit.agents import NOT_GIVEN
from livekit.plugins import baseten

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
]
BLOCKS = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}:{number}")
    for page in PAGES
    for number, code in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M)
    )
    if "def test_" not in code  # test_code_blocks.py runs those in pytest
]
ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\|", re.M)


@pytest.mark.parametrize("code", BLOCKS)
async def test_python_blocks_run(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block runs as it stands, in an event loop; one that awaits is only compiled here."""
    monkeypatch.setenv("BASETEN_API_KEY", "not-a-real-key")
    tree = compile(code, "block", "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waits = any(
        isinstance(node, (ast.Await, ast.AsyncWith, ast.AsyncFor)) for node in ast.walk(tree)
    )
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    runnable = ast.Module(body=imports if waits else tree.body, type_ignores=[])
    exec(compile(runnable, "block", "exec"), {"__name__": "block"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def options_of(heading: str, text: str) -> dict[str, str]:
    """The rows of the section's tables, its subsections' included."""
    match = re.search(rf"^(#+) {heading}$", text, re.M)
    assert match, f"no section {heading!r}"
    section = re.split(rf"^#{{1,{len(match[1])}}} ", text[match.end() :], flags=re.M)[0]
    return {name: default.strip() for name, default in ROW.findall(section)}


@pytest.mark.parametrize("name", ["STT", "TTS", "LLM"])
@pytest.mark.parametrize("where", ["README.md", "package"])
def test_the_option_tables_are_whole_and_true(name: str, where: str) -> None:
    """Every constructor argument stands in the table with its default, and nothing else does."""
    page = (
        ROOT / where
        if where == "README.md"
        else ROOT / f"packages/baseten-{name.lower()}/README.md"
    )
    table = options_of(f"{name} options" if where == "README.md" else "Options", page.read_text())
    signature = inspect.signature(getattr(baseten, name).__init__)
    parameters = {p.name: p for p in signature.parameters.values() if p.name != "self"}
    assert set(table) == set(parameters)
    for option, parameter in parameters.items():
        shown = re.match(r"`([^`]*)`", table[option])
        if shown is None or parameter.default in (None, NOT_GIVEN):
            continue  # described in words, as is a default that other arguments decide
        assert ast.literal_eval(shown[1]) == parameter.default, option
