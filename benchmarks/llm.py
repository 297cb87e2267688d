"""What the LLM costs over the bare ``openai`` client: time to the first token, CPU per token.

    python benchmarks/llm.py [--answers 24] [--tokens 300] [--round-trip 0.04]

Scenes: all tokens at once; one each 5 ms; the same after a dialogue of 61 messages; and over a link
with a round trip and TLS. Connections are open already. Besides the usual clients there is
``livekit``, LiveKit's plugin for OpenAI, which the published plugin is made of.
"""

from __future__ import annotations

from arena import Arena, parser
from report import Measure, Report

PACE = 0.005
PER_ROUND = 4


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--answers", type=int, default=24, help="per client and scene")
    options.add_argument("--tokens", type=int, default=300, help="of an answer")
    options.add_argument("--round-trip", type=float, default=0.04, help="seconds")
    args = options.parse_args()
    report = Report(
        "llm",
        "First token and CPU of the LLM",
        {
            "first": Measure("time to the first token", "ms", 2),
            "cpu": Measure("CPU of the client per token", "µs", 1),
        },
    )
    # Scene: name of the server, tokens, messages.
    scenes = {
        "burst": ("burst", args.tokens, 1),
        "paced": ("paced", min(args.tokens, 60), 1),
        "long": ("paced", 5, 61),
        "far": ("far", 5, 1),
    }
    with Arena(args) as arena:
        process = arena.server()
        servers = {
            "burst": process.do("sandbox", name="burst", token_pace=0.0),
            "paced": process.do("sandbox", name="paced", token_pace=PACE),
            "far": process.do(
                "sandbox", name="far", token_pace=PACE, tls=True, round_trip=args.round_trip
            ),
        }
        trust = {"SSL_CERT_FILE": servers["far"]["certificate"]}
        clients = arena.clients("llm_client.py", **trust)
        if not args.short:
            clients["livekit"] = arena.client("llm_client.py", "livekit", **trust)
        for scene, (name, tokens, messages) in scenes.items():
            url = servers[name]["llm"]
            for client in clients.values():
                client.do("warm", url=url, key=servers[name]["key"])
            for _, kind, client in arena.turns(clients, max(1, args.answers // PER_ROUND)):
                told = client.do(
                    "answers",
                    url=url,
                    count=1 if args.short else PER_ROUND,
                    tokens=tokens,
                    messages=messages,
                )
                report.add(
                    scene,
                    kind,
                    first=[1000 * value for value in told["first"]],
                    cpu=[1e6 * value for value in told["cost"]],
                )
            report.aim_below(scene, "first", "5 % over bare", times=1.05)
            report.aim_below(scene, "cpu", "1.3 times bare", times=1.3)
        arena.deliver(report)


if __name__ == "__main__":
    main()
