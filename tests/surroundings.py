"""The environment of a process under test."""

from __future__ import annotations

import os

__all__ = ["surroundings"]


def surroundings(**variables: str) -> dict[str, str]:
    """This process's environment without what would lead elsewhere, and with these variables."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BASETEN_", "LIVEKIT_")) and not name.upper().endswith("_PROXY")
    }
    # onnxruntime would tell its makers of its use.
    return {**inherited, "ORT_DISABLE_TELEMETRY": "1", **variables}
