"""``python -m livekit.plugins.baseten``: try your deployments from the command line."""

import sys

from .cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
