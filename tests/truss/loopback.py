"""Start a rendered Truss server on a socket that is listening already: ``loopback.py FD``.

Truss itself binds every interface; all else here is its own doing.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    async def serve(self, sockets: Any = None) -> None:
        await super().serve(sockets=[socket.socket(fileno=int(sys.argv[1]))])


uvicorn.Server = _Server  # type: ignore[misc]
sys.path[0] = os.getcwd()
runpy.run_path("main.py", run_name="__main__")
