"""Time from the end of a speaker's words to the final transcript.

    python benchmarks/stt_final.py [--turns 3] [--streams 6] [--rounds 2]

Each turn is 1.1 s of words in real time; then the room goes on silent. Ours is told that the speaker
stopped (``flush()``, as a session does it when its own turn detection says so) and makes the server
end the turn: with a burst of silent frames (Whisper) or a commit (Qwen3-ASR). ``bare`` sends the very
same. The published plugin doesn't declare that it can be flushed, so a session never does; it gets
its final when the server's own detector has counted its silence (300 ms, or 500 ms for Qwen3-ASR).
The server recognises at once, so what is shown is what comes on top of a model's own time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from arena import Arena, parser
from report import Measure, Report
from tapes import WORDS, say

MODELS = {"whisper": "whisper1", "qwen3-asr": "qwenasr1"}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--turns", type=int, default=3, help="of each stream and round")
    options.add_argument("--streams", type=int, default=6, help="at once")
    options.add_argument("--rounds", type=int, default=2)
    args = options.parse_args()
    report = Report(
        "stt_final",
        "From the end of speech to the final transcript",
        {"wait": Measure("wait for the final", "ms", 1)},
    )
    with Arena(args) as arena, tempfile.TemporaryDirectory() as folder:
        tape = Path(folder) / "tape"
        tape.write_bytes(say(WORDS[:1] if args.short else WORDS[:4]))
        server = arena.server().do("sandbox", name="near", words=WORDS)
        clients = arena.clients("stt_client.py")
        for model, deployment in MODELS.items():
            for _, kind, client in arena.turns(clients, args.rounds):
                waits = client.do(
                    "turns",
                    url=server["urls"][deployment],
                    key=server["key"],
                    model=model,
                    tape=str(tape),
                    streams=1 if args.short else args.streams,
                    count=1 if args.short else args.turns,
                )
                report.add(model, kind, wait=[1000 * wait for wait in waits])
            report.aim_below(model, "wait", "bare + 5 ms", plus=5.0)
            report.aim_below(model, "wait", "250 ms sooner than the peer", plus=-250.0, of="peer")
        arena.deliver(report)


if __name__ == "__main__":
    main()
