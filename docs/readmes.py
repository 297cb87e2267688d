"""Brings the READMEs into the site as they are, and leads links between files to its pages."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = {
    "packages/baseten/README.md": "components/baseten.md",
    "packages/baseten-stt/README.md": "components/stt.md",
    "packages/baseten-tts/README.md": "components/tts.md",
    "packages/baseten-llm/README.md": "components/llm.md",
    "packages/baseten-sandbox/README.md": "components/sandbox.md",
    "packages/baseten-common/README.md": "components/common.md",
    "examples/README.md": "examples.md",
    "examples/fleet/README.md": "fleet.md",
    "MIGRATING.md": "migrating.md",
}
_SOURCES = {page: source for source, page in PAGES.items()}
_LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    here = page.file.src_uri
    folder = posixpath.dirname(_SOURCES.get(here, f"docs/{here}"))

    def lead(link: re.Match[str]) -> str:
        text, target, anchor = link[1], posixpath.normpath(f"{folder}/{link[2]}"), link[3] or ""
        uri = PAGES.get(target, target.removeprefix("docs/"))
        if files.get_file_from_path(uri) is not None:
            return f"[{text}]({posixpath.relpath(uri, posixpath.dirname(here) or '.')}{anchor})"
        if not (ROOT / target).exists():
            return link[0]  # the strict build tells of it
        # A file of the repository that has no page here.
        return text if text.startswith("`") else f"{text} (`{target}`)"

    return _LINK.sub(lead, markdown)
