"""CPU that a client of streaming Whisper costs per second of audio, with 1, 100 and 500 streams.

    python benchmarks/stt_cpu.py [--streams 1 100 500] [--seconds 5] [--rounds 2]

All streams of a client are in one process and hear speech in real time, in pieces of 50 ms at
16 kHz. The server answers to a beat (``metronome.py``), a partial a second and a final each three:
the sandbox, which recognises what it hears, is too slow for 500 streams on a small machine. CPU is
that of the client's process alone, once all streams are open and have heard something. ``room`` is
what giving out the audio costs without any client; it is in all other figures too. ``floor`` is the
bare client inside of LiveKit's own classes and nothing else (``floor.py``).
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from arena import Arena, parser
from process import Process
from report import Measure, Report


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--streams", type=int, nargs="+", default=[1, 100, 500])
    options.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    options.add_argument("--rounds", type=int, default=2)
    args = options.parse_args()
    seconds = 0.5 if args.short else args.seconds
    report = Report(
        "stt_cpu",
        "CPU of streaming speech-to-text (Whisper)",
        {"cpu": Measure("CPU of the client per second of audio", "ms", 3)},
        notes=["room: the audio given out and no client; included in the other figures"],
    )
    with Arena(args) as arena, tempfile.TemporaryDirectory() as folder:
        tape = Path(folder) / "tape"
        tape.write_bytes(random.Random(1).randbytes(2 * 16000 * 6))
        url = arena.server().do("metronome")
        clients: dict[str, Process | None] = {**arena.clients("stt_client.py")}
        if not args.short:
            clients["floor"] = arena.client("stt_client.py", "floor")
        clients["room"] = arena.client("stt_client.py", "room")
        for streams in [2] if args.short else args.streams:
            scene = f"{streams} stream{'s' * (streams > 1)}"
            # A single stream uses so little in a second that it is watched for longer.
            length = seconds * (2 if streams < 10 and not args.short else 1)
            for _, kind, _ in arena.turns(clients, args.rounds):
                client = clients[kind]
                if client is None:
                    continue
                try:
                    told = client.do(
                        "listen", url=url, key="sandbox-key", tape=str(tape), streams=streams,
                        seconds=length, interval=0.2 if args.short else 1.0,
                    )  # fmt: skip
                except RuntimeError as error:
                    if kind != "peer":
                        raise
                    # It doesn't always bear so many streams; the others are still measured.
                    clients["peer"] = None
                    report.notes.append(f"{scene}: the peer failed: {str(error).splitlines()[0]}")
                    continue
                report.add(scene, kind, cpu=1000 * told["cpu"] / told["audio"])
                if told["pace"] < 0.98:
                    late = f"{scene}: {kind} kept up with {told['pace']:.0%} of real time only"
                    report.notes.append(late)
            report.aim_below(scene, "cpu", "1.5 times bare", times=1.5)
            report.aim_below(scene, "cpu", "the peer", of="peer")
        arena.deliver(report)


if __name__ == "__main__":
    main()
