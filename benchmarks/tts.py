"""How long a listener waits for the first sound, and a server for the news of an interruption.

    python benchmarks/tts.py [--utterances 100] [--round-trip 0.04] [--pause 0.3]

Over a link with a round trip and TLS, in round trips. What the server needed is taken off each
utterance: the time from the last of its text that reached the server to the first of its audio that
came out. So what remains is the link and the client. The link is a process of its own (``link.py``), late
by a fifth of a millisecond each way, which counts against the client; it measures the server at its far
end.

``bare`` always has its connection open before the clock starts, so its figure is the limit, 1. Each
kind of client speaks in rounds: prewarm, the time that a connection needs (0.6 s), a *first* utterance,
and *later* ones, of which 30 % are cut off at a random moment. Bare speaks as often as ours, so that
what the machine does to some of the utterances can be told from what the client does.

The pause after each is 0.3 s: no reply follows the one before sooner, since the caller has to say
something, which has to be heard and answered. ``no pause`` is what happens if one does all the same.

*Stop* is the time from closing a stream to the server's seeing it, over TLS without the link.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from arena import Arena, parser
from report import Measure, Report, percentile

TEXT = "Good morning, this is Tara speaking. What is it that I can do for you today, my friend?"
WAYS = {
    "orpheus-ws": "orpheus2",
    "orpheus-http": "orpheus1",
    "qwen3-tts": "qwentts1",
    "qwen3-tts-one-shot": "qwentts2",
    "generic": "kokoro1",
}
UNKNOWN_TO_PEER = ("generic",)
ROUNDS = 5
PACE = 40.0  # times as fast as real time: fast for a model, and yet no burst
HEAD = 0.0003  # seconds by which the head of an answer goes ahead of its first audio

Span = tuple[float, float]


def own_times(
    spoken: list[Span], waits: list[Span], passed: list[tuple[int, str, float]]
) -> list[float]:
    """What the server needed for each utterance, in seconds.

    Args:
        spoken: When each was asked for, and when its first audio was heard.
        waits: When the server had read each text, and when it was about to send the first audio.
        passed: When something passed the far end of the link on each connection, and which way.
    """
    connections: dict[int, dict[str, list[float]]] = {}
    for connection, what, at in passed:
        connections.setdefault(connection, {"go": [], "come": []})[what].append(at)
    owns = []
    for asked, heard in spoken:
        got, sent = next(wait for wait in waits if asked < wait[0] < wait[1] < heard)
        spans = []
        for times in connections.values():
            went = [at for at in times["go"] if asked < at <= got]
            came = [at for at in times["come"] if sent - HEAD <= at < heard]
            if went and came:
                spans.append(came[0] - went[-1])
        # What passed on other connections, which are being opened, is further apart.
        owns.append(min(spans))
    return owns


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--utterances", type=int, default=100, help="of ours and bare; the peer speaks less"
    )
    options.add_argument("--round-trip", type=float, default=0.04, help="seconds")
    options.add_argument("--pause", type=float, default=0.3, help="seconds after an utterance")
    args = options.parse_args()
    trips = "round trips"
    report = Report(
        "tts",
        f"First sound over {args.round_trip * 1000:.0f} ms and TLS, and stopping",
        {
            "first": Measure("first utterance after prewarm", trips),
            "first_longest": Measure("longest of the first utterances", trips, drawn=False),
            "later": Measure("later utterances", trips),
            "slow": Measure("95 of 100 later utterances came within", trips, drawn=False),
            "longest": Measure("longest of the later utterances", trips),
            "no_pause": Measure("later utterances without a pause", trips, drawn=False),
            "no_pause_longest": Measure("longest of those without a pause", trips, drawn=False),
            "own": Measure("server's own time, taken off", "ms", 1, drawn=False),
            "stop": Measure("from closing a stream to the server's seeing it", "ms", 2),
        },
        notes=[f"a pause of {args.pause} s after each utterance"],
    )
    head_start = 0.6
    counts = dict.fromkeys(("ours", "bare"), args.utterances // ROUNDS) | {"peer": 5}
    if args.short:
        counts = dict.fromkeys(counts, 1)
        args.pause, head_start = 0.05, 0.4
    with Arena(args) as arena, tempfile.TemporaryDirectory() as folder:
        server = arena.server()
        near = server.do("sandbox", name="near", tls=True)
        far = server.do("sandbox", name="far", tls=True, speech_pace=PACE)
        # Each sandbox has an authority of its own.
        trusted = Path(folder) / "trusted.pem"
        trusted.write_text("".join(Path(place["certificate"]).read_text() for place in (near, far)))
        clients = arena.clients("tts_client.py", SSL_CERT_FILE=str(trusted))
        link = arena.link()
        told = {"key": near["key"], "text": TEXT}
        for way, deployment in WAYS.items():
            unknown = ("peer",) if way in UNKNOWN_TO_PEER else ()
            speaking = {kind: c for kind, c in clients.items() if kind not in unknown}
            url = link.do("link", url=far["urls"][deployment], round_trip=args.round_trip)
            job = {**told, "way": way, "url": url, "head_start": head_start, "cut": 0.3}

            def speak(
                kind: str, job: dict[str, Any] = job, way: str = way, **more: Any
            ) -> tuple[float, list[float]]:
                server.do("waits", name="far")
                link.do("passed")
                spoken = clients[kind].do("speak", **job, **more)
                owns = own_times(spoken, server.do("waits", name="far"), link.do("passed"))
                report.add(way, kind, own=[1000 * own for own in owns])
                first, *later = (
                    (heard - asked - own) / args.round_trip
                    for (asked, heard), own in zip(spoken, owns, strict=True)
                )
                return first, later

            for number, kind, _ in arena.turns(speaking, ROUNDS):
                first, later = speak(
                    kind, utterances=counts[kind] + 1, pause=args.pause, seed=number
                )
                report.add(way, kind, first=first, later=later)
            for kind in speaking:
                first, later = (report.values(way, kind, name) for name in ("first", "later"))
                report.add(way, kind, first_longest=max(first), longest=max(later))
                report.add(way, kind, slow=percentile(later, 95))
                if not args.short:
                    _, hasty = speak(kind, utterances=16, pause=0.0, seed=1)
                    report.add(way, kind, no_pause=hasty, no_pause_longest=max(hasty))
            for measure in ("first_longest", "longest", "no_pause_longest"):
                report.aim(way, measure, "1.15 round trips", at_most=1.15)
        for way in ("orpheus-ws", "qwen3-tts"):
            count = 3 if args.short else 20
            for kind, client in clients.items():
                mute = {"do": "mute", "on": "send", "kind": "binary", "after": 4}
                server.do("ends", name="near", count=0)
                server.do("faults", name="near", plan=[mute] * count)
                closed = client.do(
                    "stop", **told, way=way, url=near["urls"][WAYS[way]], count=count
                )
                seen = server.do("ends", name="near", count=count)
                waits = [1000 * (b - a) for a, b in zip(closed, seen, strict=True)]
                report.add(way, kind, stop=waits)
        arena.deliver(report)


if __name__ == "__main__":
    main()
