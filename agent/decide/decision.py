"""What the planner is given and what it answers: plain numbers, seconds and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import Literal, NamedTuple

from splitd.calibration.profile import Terms, Work
from splitd.transport.estimate import LinkEstimate, Quantiles

CandidateKind = Literal["local", "full", "split"]

# A speed factor that changes nothing.
ONE = Quantiles.exactly(1.0)
# An agent has one server today; its candidates and its state go by this name.
THE_SERVER = "server"


class CandidateKey(NamedTuple):
    """What names a candidate within one table: the server that finishes the batch ("" if none), the cut, the codec."""

    server: str
    cut: int
    codec: str


@dataclass(frozen=True)
class CandidateCost:
    """What one (server, cut, codec) costs for one batch, as calibrated on the machines that will run it.

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
    server: str = THE_SERVER

    @property
    def key(self) -> CandidateKey:
        """Return what names the candidate within one table."""
        return CandidateKey("" if self.kind == "local" else self.server, self.cut, self.codec)

    @property
    def label(self) -> str:
        """Return the name for people: `blocks.3/u8`, `input/jpeg90`, `output`."""
        return self.name if self.kind == "local" else f"{self.name}/{self.codec}"

    @property
    def work(self) -> Work[float]:
        """Return what both ends compute."""
        return Work(self.head_s, self.encode_s, self.decode_s, self.tail_s)


@dataclass(frozen=True)
class ServerState:
    """One server and the link to it, as they are now.

    `queue_s`: seconds a request waits before it runs. `k_srv`: its speed factor. `idle_s`: silence on the uplink by the
    time the batch will be sent, for a head of zero length.
    """

    link: LinkEstimate
    queue_s: float = 0.0
    k_srv: Quantiles = ONE
    idle_s: float = 0.0

    @property
    def is_usable(self) -> bool:
        """True while the link is up and enough is known of it to predict a transfer."""
        return self.link.state == "up" and self.link.up_path is not None


# What is known before the first welcome: nothing, so that only local candidates are possible.
NO_SERVER = ServerState(LinkEstimate("unknown"))


@dataclass(frozen=True)
class State:
    """Everything that changes between two decisions.

    `previous`: the last choice, for hysteresis. `explore`: the exploration budget allows to try something uncertain.
    """

    servers: Mapping[str, ServerState]
    k_dev: Quantiles = ONE
    batch: int = 1
    deadline_s: float | None = None
    previous: CandidateKey | None = None
    explore: bool = False

    def server(self, name: str) -> ServerState:
        """Return the state of one server; of one that nothing is known of, that of an unknown link."""
        return self.servers.get(name, NO_SERVER)


def with_one_server(
    link: LinkEstimate, *, queue_s: float = 0.0, k_srv: Quantiles = ONE, idle_s: float = 0.0
) -> dict[str, ServerState]:
    """Return the servers of a state that has only the one."""
    return {THE_SERVER: ServerState(link, queue_s, k_srv, idle_s)}


@dataclass(frozen=True)
class Scored:
    """One candidate with its predicted time; `terms` and `predicted` are None where nothing can be predicted.

    `reason` says why it was chosen or why not. `meets_deadline` is the chance to be done in time, None without one.
    """

    cost: CandidateCost
    terms: Terms[float] | None
    predicted: Quantiles | None
    reason: str
    meets_deadline: float | None = None


@dataclass(frozen=True)
class Share:
    """How many samples of a batch go to one candidate."""

    scored: Scored
    samples: int


@dataclass(frozen=True)
class Decision:
    """The choice for one batch.

    `shares`: who gets how many of its samples; one candidate gets all of them today. `explored`: chosen to learn, not
    because it is fastest. `give_up_s`: until when the server is waited for, on the clock that `decide` was told.
    """

    shares: tuple[Share, ...]
    explored: bool
    explain: Callable[[], tuple[Scored, ...]] = field(repr=False, compare=False)
    give_up_s: float = inf

    @property
    def chosen(self) -> Scored:
        """The candidate that gets the most."""
        return self.shares[0].scored

    @cached_property
    def scored(self) -> tuple[Scored, ...]:
        """Return every candidate with its prediction and reason, in the order given; computed when first asked for."""
        return self.explain()
