"""Time from a server's message to the SpeechEvent that it makes, with 1 and 100 streams.

    python benchmarks/stt_latency.py [--streams 1 100] [--seconds 10]

The server (``metronome.py``) writes the moment at which it sends a transcript into its text, by the
monotonic clock that all processes of a machine share. The client takes the same clock where the
event comes out of its stream. Nothing is subtracted: the loopback connection is in it, and so is
waiting until the client's loop is done with other streams, which hear speech in real time meanwhile.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from arena import Arena, parser
from report import Measure, Report, percentile


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--streams", type=int, nargs="+", default=[1, 100])
    options.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    options.add_argument("--rounds", type=int, default=1)
    args = options.parse_args()
    report = Report(
        "stt_latency",
        "From a server's message to the SpeechEvent (Whisper)",
        {
            "p50": Measure("half of the events came within", "ms", 3),
            "p99": Measure("99 of 100 events came within", "ms", 3),
        },
    )
    with Arena(args) as arena, tempfile.TemporaryDirectory() as folder:
        tape = Path(folder) / "tape"
        tape.write_bytes(random.Random(1).randbytes(2 * 16000 * 6))
        url = arena.server().do("metronome")
        clients = arena.clients("stt_client.py")
        for streams in [2] if args.short else args.streams:
            scene = f"{streams} stream{'s' * (streams > 1)}"
            delays: dict[str, list[float]] = {kind: [] for kind in clients}
            for _, kind, client in arena.turns(clients, args.rounds):
                told = client.do(
                    "listen",
                    url=url,
                    key="sandbox-key",
                    tape=str(tape),
                    streams=streams,
                    seconds=1.0 if args.short else args.seconds,
                    # Few streams get more messages each, or there would be little to count.
                    interval=0.032 if streams < 10 else 0.5,
                )
                delays[kind] += [1000 * delay for delay in told["delays"]]
            for kind, values in delays.items():
                report.add(scene, kind, p50=percentile(values, 50), p99=percentile(values, 99))
            report.notes.append(f"{scene}: {len(delays['ours'])} events")
            report.aim(scene, "p50", "1 ms", at_most=1.0)
            report.aim(scene, "p99", "5 ms", at_most=5.0)
        arena.deliver(report)


if __name__ == "__main__":
    main()
