"""Memory that an open stream of speech-to-text takes, with all the audio it has to keep.

    python benchmarks/stt_memory.py [--streams 200] [--seconds 65]

The worst case: the server is alive but never answers, so no audio is ever confirmed, and each stream
keeps as much as it ever does (55 s with the default options) in case that the connection breaks.
``answered`` is the usual case. Resident memory is that of the whole process, divided; traced is what
Python allocated (``tracemalloc``), of fewer streams, since tracing costs time. Both are the most
that was ever in use, above what was before the streams were opened.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from arena import Arena, parser
from report import Measure, Report


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--streams", type=int, default=200)
    options.add_argument("--traced", type=int, default=20, help="streams that are traced")
    options.add_argument("--seconds", type=float, default=65.0, help="that they are open")
    args = options.parse_args()
    streams, traced = (5, 2) if args.short else (args.streams, args.traced)
    report = Report(
        "stt_memory",
        "Memory of an open stream (Whisper)",
        {
            "resident": Measure("resident memory of a stream", "MB", 3),
            "traced": Measure("Python's allocations for a stream", "MB", 3),
        },
    )
    with Arena(args) as arena, tempfile.TemporaryDirectory() as folder:
        tape = Path(folder) / "tape"
        tape.write_bytes(random.Random(1).randbytes(2 * 16000 * 6))
        process = arena.server()
        scenes = (
            {"never answered": True} if args.short else {"answered": False, "never answered": True}
        )
        for scene, mute in scenes.items():
            url = process.do("metronome", mute=mute)
            seconds = args.seconds if mute else min(10.0, args.seconds)
            # No two measurements share a process: memory that was freed isn't given back. They do
            # share the time, since only memory is measured.
            running = []
            for measure, count in (("resident", streams), ("traced", traced)):
                for kind, client in arena.clients("stt_client.py").items():
                    client.send(
                        "hold",
                        url=url,
                        key="sandbox-key",
                        tape=str(tape),
                        streams=count,
                        seconds=1.0 if args.short else seconds,
                        traced=measure == "traced",
                    )
                    running.append((measure, kind, client))
            for measure, kind, client in running:
                report.add(scene, kind, **{measure: client.result()[measure]})
                client.close()
            for measure in report.measures:
                report.aim(scene, measure, "2 MB", at_most=2.0)
        arena.deliver(report)


if __name__ == "__main__":
    main()
