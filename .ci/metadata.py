"""What a built distribution must hold and say about itself."""

from __future__ import annotations

import ast
import email
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

__all__ = ["faults"]

REQUIRED = (
    "Name",
    "Version",
    "Summary",
    "Keywords",
    "License-Expression",
    "License-File",
    "Project-URL",
    "Requires-Python",
    "Description-Content-Type",
)
CLASSIFIERS = ("Development Status", "Intended Audience", "Programming Language", "Typing :: Typed")
# Where a distribution isn't called what its module is.
DISTRIBUTIONS = {
    "hibari": "hibari-tts",
    "llama_cpp": "llama-cpp-python",
    "livekit.agents": "livekit-agents",
    "livekit.local_inference": "livekit-local-inference",
}
IMPORTERS = {"pytest": "pytest_plugin.py"}  # imports the module that imports it
IN_SDIST = ("README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "PKG-INFO")


def faults(wheel: Path, sdist: Path) -> Iterator[str]:
    """What is wrong with a package, a line each."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(path))
        sources = {name: archive.read(name) for name in names if name.endswith(".py")}
    leaf = metadata["Name"].removeprefix("livekit-plugins-").replace("-", "_")
    home = f"livekit/plugins/{leaf}/"
    yield from _metadata(metadata)
    # An __init__.py in a namespace that is shared would hide what others have there.
    yield from (
        f"{name} lies outside {home}"
        for name in names
        if not name.startswith(home) and ".dist-info/" not in name
    )
    for name in ("py.typed", "__init__.py", "version.py"):
        if home + name not in names:
            yield f"{home}{name} is missing"
    yield from _undeclared(metadata, sources, leaf)
    with tarfile.open(sdist) as archive:
        inside = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    yield from (f"the sdist lacks {name}" for name in IN_SDIST if name not in inside)
    if not any(name.startswith("tests/test_") for name in inside):
        yield "the sdist lacks its tests"


def _metadata(metadata: Message) -> Iterator[str]:
    yield from (f"the metadata lacks {field}" for field in REQUIRED if not metadata[field])
    if len(str(metadata.get_payload())) < 500:
        yield "the description is short of a README"
    classifiers = metadata.get_all("Classifier") or []
    for start in CLASSIFIERS:
        if not any(classifier.startswith(start) for classifier in classifiers):
            yield f"no classifier {start}"
    for requirement in metadata.get_all("Requires-Dist") or []:
        pinned = "==" in requirement.split(";")[0]
        if not pinned and not (">=" in requirement and "<" in requirement.split(";")[0]):
            yield f"{requirement} has no floor or no cap"


def _undeclared(metadata: Message, sources: dict[str, bytes], leaf: str) -> Iterator[str]:
    declared = {
        re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")
        for requirement in metadata.get_all("Requires-Dist") or []
    }
    own = f"livekit-plugins-{leaf.replace('_', '-')}"
    for name, source in sources.items():
        for module in sorted(_imports(ast.parse(source))):
            distribution = _distribution(module)
            if IMPORTERS.get(module, "/") == name.rsplit("/", 1)[1]:
                continue
            if distribution not in (None, own) and distribution not in declared:
                yield f"{name} imports {module}, but {distribution} isn't declared"


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (isinstance(node, (ast.Try, ast.With)) and "ImportError" in ast.unparse(node)):
            # Where an ImportError is expected, the module may be absent.
            yield from _imports(node)


def _distribution(module: str) -> str | None:
    """The distribution that has a module; None for the standard library's."""
    top, *below = module.split(".")
    if top in sys.stdlib_module_names:
        return None
    if module.startswith("livekit.plugins."):
        return f"livekit-plugins-{below[1].replace('_', '-')}"
    package = ".".join([top, *below[:1]]) if top == "livekit" else top
    return DISTRIBUTIONS.get(package, top.replace("_", "-"))
