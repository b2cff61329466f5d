"""What the planner is given and what it answers: plain numbers, seconds and bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from splitd.transport.estimate import LinkEstimate, Quantiles

CandidateKind = Literal["local", "full", "split"]
CandidateKey = tuple[int, str]

ONE = Quantiles.exactly(1.0)


@dataclass(frozen=True)
class CandidateCost:
    """What one (cut, codec) costs for one batch, as calibrated on the machines that will run it.

    `cut` is the index k of the chain, `name` its name; `wire_bytes` and `result_bytes` are sent bytes with headers.
    The local candidate has zero for everything but `head_s`.
    """

    cut: int
    name: str
    codec: str
    kind: CandidateKind
    head_s: float
    encode_s: float
    wire_bytes: int
    decode_s: float
    tail_s: float
    result_bytes: int

    @property
    def key(self) -> CandidateKey:
        """Return (cut, codec), which names the candidate within one table."""
        return self.cut, self.codec

    @property
    def label(self) -> str:
        """Return the name for people: `blocks.3/u8`, `input/jpeg90`, `output`."""
        return self.name if self.kind == "local" else f"{self.name}/{self.codec}"


@dataclass(frozen=True)
class ServerView:
    """The server as it last reported: seconds a request waits before it runs, and its speed factor k_srv."""

    queue_s: float = 0.0
    k_srv: Quantiles = ONE


@dataclass(frozen=True)
class State:
    """Everything that changes between two decisions.

    `idle_s`: silence on the uplink by the time the batch will be sent, for a head of zero length. `previous`: the last
    choice, for hysteresis. `explore`: the exploration budget allows to try something uncertain now.
    """

    link: LinkEstimate
    server: ServerView = field(default_factory=ServerView)
    k_dev: Quantiles = ONE
    batch: int = 1
    deadline_s: float | None = None
    idle_s: float = 0.0
    previous: CandidateKey | None = None
    explore: bool = False


@dataclass(frozen=True)
class Terms:
    """The predicted median seconds of one candidate, term by term of the cost model."""

    head_s: float
    encode_s: float
    rtt_s: float
    transfer_s: float
    queue_s: float
    decode_s: float
    tail_s: float
    return_s: float

    @property
    def total_s(self) -> float:
        """Return the sum of all terms."""
        return (
            self.head_s
            + self.encode_s
            + self.rtt_s
            + self.transfer_s
            + self.queue_s
            + self.decode_s
            + self.tail_s
            + self.return_s
        )


@dataclass(frozen=True)
class Scored:
    """One candidate with its predicted time; `terms` and `predicted` are None where nothing can be predicted.

    `reason` says why it was chosen or why not. `meets_deadline` is the chance to be done in time, None without one.
    """

    cost: CandidateCost
    terms: Terms | None
    predicted: Quantiles | None
    reason: str
    meets_deadline: float | None = None


@dataclass(frozen=True)
class Decision:
    """The choice for one batch. `explored`: chosen to learn, not because it is fastest."""

    chosen: Scored
    explored: bool
    explain: Callable[[], tuple[Scored, ...]] = field(repr=False, compare=False)

    @cached_property
    def scored(self) -> tuple[Scored, ...]:
        """Return every candidate with its prediction and reason, in the order given; computed when first asked for."""
        return self.explain()
