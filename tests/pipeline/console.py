"""Run a program that ends in LiveKit's deprecated ``cli.run_app``, on the TCP console.

That command line's own console wants a sound card; everything before it runs as the program says.

    python console.py program.py --connect-addr HOST:PORT
"""

from __future__ import annotations

import argparse
import runpy
from collections.abc import Callable

from livekit.agents import AgentServer
from livekit.agents.cli import _legacy
from livekit.agents.cli.cli import _run_tcp_console

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--connect-addr", required=True)
    options = parser.parse_args()

    def console(server: AgentServer) -> Callable[[], None]:
        return lambda: _run_tcp_console(server=server, connect_addr=options.connect_addr)

    _legacy._build_cli = console
    runpy.run_path(options.program, run_name="__main__")
