"""How many calls fit what: arithmetic only, with every input in sight.

Inputs are of three kinds, and ``kind`` says which: *measured* by ``capacity.py``, *published* by
Baseten or LiveKit, or *assumed*, to be replaced by your own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = [
    "BESIDE",
    "CONVERSATION",
    "FRAMEWORK",
    "LLM_PLAN",
    "MACHINE",
    "ORPHEUS",
    "PORTS",
    "WHISPER",
    "WHISPER_DENSE",
    "Conversation",
    "Cost",
    "Fleet",
    "Machine",
    "Plan",
    "Replica",
    "fleet",
    "limits",
    "peak",
    "simulated_peak",
]

Kind = Literal["measured", "published", "assumed"]
_HIGH = 3.09  # standard deviations that are exceeded once in a thousand moments


@dataclass(frozen=True)
class Cost:
    """What one call costs a machine.

    Attributes:
        cpu: Cores.
        memory: Megabytes.
        kind: Where the figures are from.
        source: Which document or program.
    """

    cpu: float
    memory: float
    kind: Kind
    source: str


@dataclass(frozen=True)
class Conversation:
    """What a call asks of the servers. All of it is assumed.

    Attributes:
        turn: Seconds from one answer to the next.
        speech: Seconds of speech in an answer, for which a server is taken to be busy: the
            published concurrency is one of streams in real time.
        prompt: Tokens of a request to the LLM; those served from a cache count.
        answer: Tokens of its answer.
        answering: Seconds that a request to the LLM takes.
        warm_sockets: Of text-to-speech; the plugin's default.
    """

    turn: float = 10.0
    speech: float = 4.5
    prompt: int = 1000
    answer: int = 40
    answering: float = 1.0
    warm_sockets: int = 1

    @property
    def speaking(self) -> float:
        """The share of time in which an utterance is being made."""
        return min(1.0, self.speech / self.turn)

    @property
    def requests(self) -> float:
        """Requests to the LLM a minute."""
        return 60 / self.turn

    @property
    def tokens(self) -> float:
        """Tokens a minute, both ways."""
        return self.requests * (self.prompt + self.answer)

    @property
    def kilobits(self) -> float:
        """Kilobits of sound a second, both ways: 16 kHz up all the time, 24 kHz down in answers."""
        return 16 * (16 + 24 * self.speaking)


@dataclass(frozen=True)
class Machine:
    """A machine that runs an agent server, one job process a call.

    Attributes:
        cores: Its cores.
        memory: Megabytes.
        full: Load above which it takes no more calls.
        idle: Job processes that wait for calls.
    """

    cores: int
    memory: float
    full: float
    idle: int


@dataclass(frozen=True)
class Replica:
    """A replica of a speech model on one GPU.

    Attributes:
        name: Model and GPU.
        streams: How many at once.
        source: Who says so.
    """

    name: str
    streams: int
    source: str

    @property
    def usable(self) -> int:
        """Connections that are placed on it: one fewer, then another replica is started.

        https://docs.baseten.co/development/model/websockets
        """
        return self.streams - 1


@dataclass(frozen=True)
class Plan:
    """Limits of the Model APIs.

    Attributes:
        name: The plan.
        requests: A minute.
        tokens: A minute.
        source: Who says so.
    """

    name: str
    requests: float
    tokens: float
    source: str


# 30 agents with voice activity detection and a published track each took 3.8 of 4 cores, 2.8 GB.
FRAMEWORK = Cost(
    3.8 / 30, 2800 / 30, "published", "https://docs.livekit.io/deploy/custom/deployments/"
)
CONVERSATION = Conversation()
# The size that LiveKit recommends; load_threshold and num_idle_processes are its defaults.
MACHINE = Machine(cores=4, memory=8192, full=0.7, idle=4)
_LIBRARY = "https://www.baseten.co/library/whisper-large-v3-turbo-streaming"
WHISPER = Replica("Whisper on an H100, for latency", 20, _LIBRARY)
WHISPER_DENSE = Replica("Whisper on an H100 MIG, balanced", 40, _LIBRARY)
ORPHEUS = Replica(
    "Orpheus on an H100 MIG",
    16,
    "a talk of Baseten's: https://lawwu.github.io/transcripts/transcript_gmTHs5T_YAE.html",
)
LLM_PLAN = Plan(
    "Pro", 120, 1_000_000, "https://docs.baseten.co/inference/model-apis/pricing-and-limits"
)
# Recognition, the LLM, and two to text-to-speech that are opened ahead and take no place there.
BESIDE = 4
PORTS = 28_232  # of one address towards one host, as Linux has it


def _whole(number: float) -> int:
    # 0.7 / 0.1 is a little less than 7.
    return math.floor(number + 1e-9)


def peak(calls: int, share: float) -> int:
    """How many of so many calls do something at once that each does for a share of its time.

    Calls are independent, so the number is binomial; this is what it exceeds once in a thousand
    moments, by the normal approximation.
    """
    expected = calls * share
    return min(calls, math.ceil(expected + _HIGH * math.sqrt(expected * (1 - share))))


def simulated_peak(
    calls: int, conversation: Conversation, *, minutes: float = 10.0, seed: int = 1
) -> int:
    """The same by playing it: the number at once that is exceeded in a thousandth of the time.

    Each call is silent and speaks by turns, for times that vary as widely as an exponential does.
    """
    chance = np.random.default_rng(seed)
    length = 60 * minutes
    turns = math.ceil(2 * length / conversation.turn) + 8
    pauses = chance.exponential(conversation.turn - conversation.speech, (calls, turns))
    speech = chance.exponential(conversation.speech, (calls, turns))
    # All calls begin silent; by the time that is looked at, they have forgotten it.
    starts = np.cumsum(pauses + speech, axis=1) - speech - 5 * conversation.turn
    ends = (starts + speech).ravel()
    starts = starts.ravel()
    times = np.concatenate([starts, ends])
    order = np.argsort(times, kind="stable")
    busy = np.cumsum(np.repeat([1, -1], len(starts))[order])
    times = times[order]
    lasts = np.diff(np.clip(times, 0.0, length))
    by_number = np.bincount(busy[:-1], weights=lasts)
    above = np.cumsum(by_number[::-1])[::-1] - by_number
    return int(np.argmax(above <= 0.001 * by_number.sum()))


def sockets(calls: int, conversation: Conversation) -> int:
    """Places of text-to-speech that are taken: those that wait, and those that speak."""
    return calls * conversation.warm_sockets + peak(calls, conversation.speaking)


@dataclass(frozen=True)
class Fleet:
    """What so many calls at once need.

    Attributes:
        calls: The calls.
        machines: Agent servers.
        cores: Cores of them that are busy.
        memory: Gigabytes of job processes.
        transcribers: GPUs of speech-to-text.
        speakers: GPUs of text-to-speech.
        idle_speakers: How many of those are there for sockets that wait.
        plans: How many times the LLM plan.
        requests: To the LLM a minute.
        in_flight: Requests to the LLM at once.
        gigabits: Of sound a second, both ways.
        addresses: Outgoing addresses.
    """

    calls: int
    machines: int
    cores: float
    memory: float
    transcribers: int
    speakers: int
    idle_speakers: int
    plans: float
    requests: float
    in_flight: int
    gigabits: float
    addresses: int


def calls_per_machine(machine: Machine, cost: Cost) -> tuple[int, Literal["CPU", "memory"]]:
    """How many calls an agent server takes, and what stops it."""
    by_cpu = _whole(machine.cores * machine.full / cost.cpu)
    by_memory = _whole(machine.memory * machine.full / cost.memory) - machine.idle
    return (by_cpu, "CPU") if by_cpu <= by_memory else (by_memory, "memory")


def fleet(
    calls: int,
    cost: Cost,
    conversation: Conversation = CONVERSATION,
    *,
    machine: Machine = MACHINE,
    transcriber: Replica = WHISPER,
    speaker: Replica = ORPHEUS,
    plan: Plan = LLM_PLAN,
) -> Fleet:
    """What so many calls at once need. ``cost`` is that of framework and plugins together."""
    per_machine, _ = calls_per_machine(machine, cost)
    taken = sockets(calls, conversation)
    spoken = math.ceil(peak(calls, conversation.speaking) / speaker.usable)
    speakers = math.ceil(taken / speaker.usable)
    connections = BESIDE * calls + taken
    return Fleet(
        calls=calls,
        machines=math.ceil(calls / per_machine),
        cores=calls * cost.cpu,
        memory=calls * cost.memory / 1024,
        transcribers=math.ceil(calls / transcriber.usable),
        speakers=speakers,
        idle_speakers=speakers - spoken,
        plans=calls * max(conversation.requests / plan.requests, conversation.tokens / plan.tokens),
        requests=calls * conversation.requests,
        in_flight=peak(calls, conversation.answering / conversation.turn),
        gigabits=calls * conversation.kilobits / 1e6,
        addresses=math.ceil(connections / PORTS),
    )


def limits(
    cost: Cost, plugins: Cost, conversation: Conversation = CONVERSATION
) -> list[tuple[str, int]]:
    """How many calls one of each thing holds, the scarcest first: what saturates in which order."""

    def most(fits: object) -> int:
        calls = 0
        while fits(calls + 1):  # type: ignore[operator]
            calls += 1
        return calls

    held = BESIDE + conversation.warm_sockets + conversation.speaking
    found = [
        ("a core, framework and plugins", _whole(MACHINE.full / cost.cpu)),
        ("a core, plugins alone", _whole(MACHINE.full / plugins.cpu)),
        ("an agent server of 4 cores, 8 GB", calls_per_machine(MACHINE, cost)[0]),
        (
            f"the {LLM_PLAN.name} plan, by requests",
            _whole(LLM_PLAN.requests / conversation.requests),
        ),
        (f"the {LLM_PLAN.name} plan, by tokens", _whole(LLM_PLAN.tokens / conversation.tokens)),
        (WHISPER.name, WHISPER.usable),
        (WHISPER_DENSE.name, WHISPER_DENSE.usable),
        (
            f"{ORPHEUS.name}, with warm sockets",
            most(lambda calls: sockets(calls, conversation) <= ORPHEUS.usable),
        ),
        (
            f"{ORPHEUS.name}, without",
            most(lambda calls: peak(calls, conversation.speaking) <= ORPHEUS.usable),
        ),
        ("an outgoing address", _whole(PORTS / held)),
    ]
    return sorted(found, key=lambda row: row[1])
