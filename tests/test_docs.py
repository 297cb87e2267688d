"""The site builds without a warning, holds what it should, and asks nothing of other hosts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from surroundings import surroundings

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("uv") is None:
        pytest.skip("building the site needs uv")
    built = tmp_path_factory.mktemp("site")
    # In an environment of its own: the tests' one stays as it is.
    subprocess.run(
        [
            "uv",
            "run",
            "--isolated",
            "--only-group",
            "docs",
            "mkdocs",
            "build",
            "--strict",
            "-d",
            built,
        ],
        cwd=ROOT,
        env=surroundings(NO_MKDOCS_2_WARNING="1"),
        check=True,
        timeout=240,
    )
    return built


pytestmark = pytest.mark.timeout(300)


def text_of(page: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.read_text()))


def test_readmes_are_pages(site: Path) -> None:
    for name in ("baseten", "stt", "tts", "llm", "sandbox", "common"):
        assert "livekit-plugins-baseten" in text_of(site / "components" / f"{name}.html")
    assert "terminationGracePeriodSeconds" in text_of(site / "fleet.html")


def test_links_lead_to_pages_or_nowhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for target in re.findall(r'href="(?!\w+:|#|/)([^"#?]+)', page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("stt", ["vad_min_silence_duration_ms", "The development deployment"]),
        ("tts", ["warm_lifetime", "register_voice"]),
        ("llm", ["reasoning_effort", "list_models"]),
        ("common", ["websocket_urls", "from_status"]),
        ("sandbox", ["wait_sessions", "idle_limit"]),
    ],
)
def test_reference_holds_arguments_and_members(site: Path, page: str, words: list[str]) -> None:
    text = text_of(site / "reference" / f"{page}.html")
    for word in words:
        assert word in text


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]* src="([^"]+)', page.read_text())
        loaded += re.findall(
            r'<link[^>]* rel="(?:stylesheet|icon|preload)"[^>]*>', page.read_text()
        )
        assert not [each for each in loaded if "//" in each]
