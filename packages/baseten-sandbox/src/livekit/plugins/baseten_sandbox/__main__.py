"""``python -m livekit.plugins.baseten_sandbox``: what ``baseten-sandbox`` runs."""

import sys

from .cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
