"""CPU that a client of text-to-speech costs per second of audio.

    python benchmarks/tts_cpu.py [--utterances 3] [--at-once 4] [--rounds 3]

The server speaks forty times faster than real time, one piece of 85 ms after the other, to four
speakers at once: so each hears about ten times faster than real time.
Without TLS, whose cost is the same for all and would make the ratios look better. CPU is that of the
client's process alone: text in as an LLM gives it, a connection for each utterance where the protocol
has it so, audio out. ``floor`` is the bare client inside of LiveKit's own classes and nothing else
(``floor.py``), each piece of audio handed on as it comes: what it costs over bare is LiveKit's. A plugin
can cost less only by handing on fewer and longer pieces.
"""

from __future__ import annotations

from arena import Arena, parser
from report import Measure, Report
from tts import WAYS

TEXT = (
    "Thank you for waiting. Your order left our warehouse this morning, and it should be with you by "
    "Thursday at the latest. Is there anything else that I can do for you today?"
)
MEASURED = ("orpheus-ws", "orpheus-http", "qwen3-tts")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--utterances", type=int, default=3, help="of each speaker and round")
    options.add_argument("--at-once", type=int, default=4, help="speakers")
    options.add_argument("--rounds", type=int, default=3)
    args = options.parse_args()
    report = Report(
        "tts_cpu",
        "CPU of text-to-speech",
        {"cpu": Measure("CPU of the client per second of audio", "ms", 3)},
    )
    with Arena(args) as arena:
        server = arena.server().do(
            "sandbox", name="near", speech_pace=100.0 if args.short else 40.0
        )
        clients = arena.clients("tts_client.py")
        if not args.short:
            clients["floor"] = arena.client("tts_client.py", "floor")
        for way in MEASURED:
            for _, kind, client in arena.turns(clients, args.rounds):
                told = client.do(
                    "work",
                    url=server["urls"][WAYS[way]],
                    key=server["key"],
                    way=way,
                    text=TEXT,
                    utterances=1 if args.short else args.utterances,
                    at_once=2 if args.short else args.at_once,
                )
                report.add(way, kind, cpu=1000 * told["cpu"] / told["audio"])
            report.aim_below(way, "cpu", "1.5 times bare", times=1.5)
            report.aim_below(way, "cpu", "the peer", of="peer")
        arena.deliver(report)


if __name__ == "__main__":
    main()
