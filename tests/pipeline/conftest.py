from __future__ import annotations

from leaks import modules_frozen, nothing_leaks

__all__ = ["modules_frozen", "nothing_leaks"]
