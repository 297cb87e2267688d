"""What holds for all tests of the workspace."""

from __future__ import annotations

import pytest

# Their tests share an environment that takes long to make.
TOGETHER = ("tests/truss", "tests/official")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, where they share servers and models."""
    for item in items:
        path = item.path.relative_to(config.rootpath).as_posix()
        group = next((folder for folder in TOGETHER if path.startswith(folder)), path)
        item.add_marker(pytest.mark.xdist_group(group))
