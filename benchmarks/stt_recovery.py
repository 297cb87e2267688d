"""How long a stream goes without a new word when its connection is reset while somebody speaks.

    python benchmarks/stt_recovery.py [--resets 5] [--round-trip 0.04]

Numbered words are spoken without a pause over a link with a round trip and TLS. At a moment that
differs each time the connection is reset (TCP RST). Shown is the longest time between two words that
are news, from the last good one to the first new one, and how many words were never heard. Partials
are asked for each 0.1 s, so that words are seen soon after they are heard; ``calm`` is the same
without a reset. ``bare`` dials again at once and goes on with what is said from then on; its dialling
is the handshake of the target.
"""

from __future__ import annotations

import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from arena import Arena, parser
from report import Measure, Report
from tapes import WORDS, say


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--resets", type=int, default=5)
    options.add_argument("--round-trip", type=float, default=0.04, help="seconds")
    args = options.parse_args()
    choice = random.Random(3)
    words = WORDS[: 4 if args.short else 15]
    report = Report(
        "stt_recovery",
        "Reset while somebody speaks (Whisper)",
        {
            "gap": Measure("longest time without a new word", "s", 3),
            "lost": Measure("words never heard", f"of {len(words)}", 1),
        },
    )
    handshakes: list[float] = []
    with Arena(args) as arena, tempfile.TemporaryDirectory() as folder:
        tape = Path(folder) / "tape"
        # The silence at the end closes the turn.
        tape.write_bytes(say(words, silence=0.3) + bytes(16000))
        process = arena.server()
        server = process.do(
            "sandbox", name="far", words=WORDS, tls=True, round_trip=args.round_trip
        )
        clients = arena.clients("stt_client.py", SSL_CERT_FILE=server["certificate"])
        scenes = {"calm": 1, "reset": args.resets}
        if args.short:
            del scenes["calm"]
        for scene, rounds in scenes.items():
            # The same for all clients of a round.
            first, last = (20, 30) if args.short else (30, 100)
            moments = [choice.randrange(first, last) for _ in range(rounds)]
            for number, kind, client in arena.turns(clients, rounds):
                if scene == "reset":
                    fault: dict[str, Any] = {"do": "reset", "on": "receive", "kind": "binary"}
                    fault["after"] = moments[number]
                    process.do("faults", name="far", plan=[fault])
                told = client.do(
                    "recover",
                    url=server["urls"]["whisper1"],
                    key=server["key"],
                    tape=str(tape),
                    interval=0.1,
                )
                report.add(scene, kind, gap=told["longest"], lost=len(words) - len(told["heard"]))
                handshakes += told["handshakes"]
        handshake = statistics.median(handshakes)
        report.notes.append(f"one handshake took {handshake:.3f} s in the median")
        report.aim("reset", "gap", "0.5 s and one handshake", at_most=0.5 + handshake)
        report.aim("reset", "lost", "none", at_most=0)
        arena.deliver(report)


if __name__ == "__main__":
    main()
