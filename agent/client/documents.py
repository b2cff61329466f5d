"""The documents of the control sockets, each written once: the daemons fill them in, `splitctl` and others read them.

Times are seconds, sizes bytes, rates bytes per second; null stands for what is not known (yet). A field keeps its
meaning for as long as `schema_version` stays; fields may be added, so a reader ignores those that it does not know.
docs/control-api.md is made from this file, and the descriptions below are its text.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from splitd.agent.client.protocol import Source

SCHEMA_VERSION = 1

DaemonState: TypeAlias = Literal["starting", "calibrating", "ready", "degraded", "stopping"]


class Part(BaseModel):
    """A part of a document; immutable."""

    # A document is compiled when it is first used: whoever imports the client and asks for none pays nothing.
    model_config = ConfigDict(frozen=True, populate_by_name=True, defer_build=True)


class Document(Part):
    """What one route answers with. `ROUTE` is the name behind `/v1/`; empty for what several routes answer with."""

    ROUTE: ClassVar[str] = ""

    schema_version: int = Field(SCHEMA_VERSION, description="grows when a field changes its meaning or goes")

    def to_json(self) -> dict[str, Any]:
        """Return the document as it crosses the socket: only what JSON has."""
        return self.model_dump(mode="json", by_alias=True)


class Bounds(Part):
    """An estimate with its spread."""

    p10: float = Field(description="10 % of the values lie below")
    p50: float = Field(description="the median")
    p90: float = Field(description="90 % of the values lie below")


class PreprocessingView(Part):
    """How images become the network's input."""

    size: tuple[int, ...] = Field(description="channels, height, width")
    mean: tuple[float, ...] = Field(description="per channel, taken off values scaled to 0..1")
    std: tuple[float, ...] = Field(description="per channel, divided by")
    interpolation: str
    crop_pct: float = Field(description="share of the resized image that the crop keeps")
    crop_mode: str = Field(description="`center`, `squash` or `border`")


class ModelView(Part):
    """The network that runs."""

    name: str = Field(description="as configured")
    weights: str = Field(description="as configured")
    image_size: int | None = Field(description="pixels a side; null for a network without preprocessing")
    digest: str = Field(description="of graph, weights and preprocessing, equal on both ends; empty until it is loaded")
    input: tuple[int, ...] | None = Field(
        None, description="shape of a prepared float32 input, without the batch; null until it is loaded"
    )
    preprocessing: PreprocessingView | None = Field(
        None, description="null: prepared tensors only, no images; also null until it is loaded"
    )


class DeviceView(Part):
    """The processor that runs it."""

    name: str = Field(description="`cpu`, `cuda` or `cuda:N`")
    threads: int | None = Field(description="CPU threads")
    throttle: float | None = Field(description="share of full speed when a slower device is emulated, else null")
    executor: str | None = Field(None, description="what runs the network; null until it is loaded")


class ExecutorView(Part):
    """One executor: whether it may run the network here, and what it takes."""

    name: str
    version: str = Field(description="`-` where it is not installed")
    verdict: Literal["reference", "agrees", "disagrees", "failed", "missing", "untried"]
    reason: str | None = Field(description="why it is not used, how far it is made, or how to get it")
    relative_error: float | None = Field(description="largest difference of an output, as a share of the largest value")
    kl: float | None = Field(
        description="KL divergence of the classes from the reference's, nats; null without classes"
    )
    batch_sizes: tuple[int, ...] = Field(description="what the times belong to")
    head_s: tuple[float, ...] = Field(description="the whole network with preparation; empty where it was not timed")
    tail_s: tuple[float, ...] = Field(description="the whole network without preparation")


class Status(Document):
    """What both daemons say of themselves."""

    ROUTE: ClassVar[str] = "status"

    version: str = Field(description="of splitd")
    pid: int = Field(description="process id")
    state: DaemonState = Field(description="degraded: an agent that works without its server")
    state_text: str = Field(description="the state in a sentence")
    uptime_s: float = Field(description="since the daemon was started")
    model: ModelView
    device: DeviceView
    executors: tuple[ExecutorView, ...] = Field((), description="all that could run the network, side by side")


class PeerView(Part):
    """The edge server as the agent sees it."""

    address: str = Field(description="as configured")
    state: str = Field(
        description="`not connected yet`, `connecting`, `ready`, `suspect` (silent), `down` or `refused`"
    )
    error: str | None = Field(description="why it is down or refuses")
    name: str | None = Field(description="its host's name")
    version: str | None = Field(None, description="its splitd's version")
    reconnects: int = Field(0, description="how often it was found again")
    queue_s: float | None = Field(None, description="its last word on how long a request waits there")
    load: float | None = Field(None, description="its last word on the share of time that it is busy, 0 to 1")


class LinkView(Part):
    """The link in short."""

    state: str = Field(description="`unknown`, `up`, `suspect` (silent) or `down`")
    rtt_s: Bounds | None = Field(description="round trip")
    up_bytes_per_s: Bounds | None = Field(description="rate from device to server")
    down_bytes_per_s: Bounds | None = Field(description="rate from server to device")


class ChoiceView(Part):
    """Where the last batch was split."""

    name: str | None = Field(description="the cut, `input` (full offloading) or `output` (no offloading)")
    codec: str | None = Field(description="`-` when nothing crossed")
    pinned: str | None = Field(description="CUT or CUT/CODEC when pinned")


class AgentCounters(Part):
    """What the agent has done since its start. Requests end as answered, failed or expired; batches hold requests."""

    accepted: int = Field(description="requests taken in")
    refused: int = Field(description="requests refused: malformed, too large, or too many waiting")
    expired: int = Field(description="requests that got no answer by their deadline")
    waiting: int = Field(description="requests without an answer now")
    answered: int = Field(description="requests answered with a result")
    failed: int = Field(description="requests answered with an error")
    batches: int = Field(description="batches run")
    switches: int = Field(description="changes of cut or codec from one batch to the next")
    server: int = Field(description="batches that the server finished")
    local: int = Field(description="batches that never left the device")
    finished_locally: int = Field(
        alias="finished-locally", description="batches finished here from the cut, since the server or the link failed"
    )


class Regret(Part):
    """How much longer batches took than the best choice would have, as shares; modelled in hindsight."""

    median: float
    mean: float
    batches: int = Field(description="the last so many batches")


class AgentStatus(Status):
    """The agent at a glance."""

    daemon: Literal["agent"] = "agent"
    profile: Literal["saved", "measured"] | None = Field(description="where the latency profile came from")
    server: PeerView
    link: LinkView
    split: ChoiceView
    counters: AgentCounters
    regret: Regret | None = Field(description="null before the first batch")


class LoadView(Part):
    """How busy the server is."""

    clients: int = Field(description="devices connected")
    queued: int = Field(description="requests that wait for the processor")
    queue_s: float = Field(description="how long a request that came now would wait")
    load: float = Field(description="share of the last seconds in which the processor was busy, 0 to 1")
    requests: int = Field(description="requests answered with a result")
    failed: int = Field(description="requests answered with an error")


class ServerStatus(Status):
    """The server at a glance."""

    daemon: Literal["server"] = "server"
    bind: str = Field(description="where it listens")
    load: LoadView
    counters: dict[str, int] = Field(
        description="what the protocol refused or dropped, by kind; also the metric `splitd_server_protocol_events`"
    )


AnyStatus: TypeAlias = Annotated[AgentStatus | ServerStatus, Field(discriminator="daemon")]


class SentSize(Part):
    """What one codec sends at one cut."""

    codec: str
    wire_bytes: int = Field(description="headers included")


class SplitRow(Part):
    """One position at which the network may be split."""

    k: int = Field(description="index in the chain, 0 is the input")
    name: str
    elements: int = Field(description="elements of one sample that cross")
    ratio: float | None = Field(description="c_l: those elements as a share of the input's")
    head_s: float = Field(description="calibrated time on the device up to here")
    tail_s: float | None = Field(description="calibrated time on the server from here; null without a server")
    codecs: tuple[SentSize, ...] = Field(description="the candidates here")


class Splits(Document):
    """Every cut with its size, its calibrated times and what each codec sends."""

    ROUTE: ClassVar[str] = "splits"

    batch: int = Field(description="samples that the times and sizes are for")
    splits: tuple[SplitRow, ...]


class CongestionView(Part):
    """The device's TCP."""

    algorithm: str = Field(description="congestion control")
    slow_start_after_idle: bool = Field(description="whether a connection starts slowly again after a pause")


class LinkDocument(Document, LinkView):
    """The link estimate with its bounds."""

    ROUTE: ClassVar[str] = "link"

    samples: int = Field(description="rate readings behind the uplink")
    age_s: float | None = Field(description="age of the last of them")
    idle_factor: float = Field(description="how many times longer a transfer takes after a pause")
    congestion: CongestionView
    counters: dict[str, int] = Field(description="what the session sent, lost and refused, by kind")


class CandidateTerms(Part):
    """The predicted median seconds, term by term of the cost model."""

    head_s: float = Field(description="the device's part of the network")
    encode_s: float
    rtt_s: float
    transfer_s: float = Field(description="bytes over the rate")
    queue_s: float = Field(description="wait for the server's processor")
    decode_s: float
    tail_s: float = Field(description="the server's part of the network")
    return_s: float = Field(description="the result's way back")


class CandidateRow(Part):
    """One candidate: a cut with a codec."""

    candidate: str = Field(description="CUT/CODEC, or `output`")
    split: str = Field(description="the cut")
    codec: str
    chosen: bool
    wire_bytes: int | None = Field(description="null where accuracy keeps it out")
    terms: CandidateTerms | None = Field(description="null where nothing can be predicted")
    predicted: Bounds | None = Field(description="end-to-end seconds")
    meets_deadline: float | None = Field(description="chance to meet `planner.deadline_ms`; null without one")
    reason: str = Field(description="why it was chosen, or why not")


class Explanation(Document):
    """A decision: every candidate with its terms, its bounds, and why it was not chosen."""

    ROUTE: ClassVar[str] = "explain"

    batch: int = Field(description="samples decided for")
    chosen: str = Field(description="the chosen candidate")
    explored: bool = Field(description="whether it was chosen to learn something, not as the fastest")
    k_dev: Bounds = Field(description="how many times slower than calibrated the device is now")
    k_srv: Bounds = Field(description="how many times slower than calibrated the server is now")
    candidates: tuple[CandidateRow, ...]


class Record(Part):
    """One batch: what was chosen, what was predicted, and what came of it."""

    time: float = Field(description="when it ended, Unix seconds")
    batch: int = Field(description="samples")
    split: str = Field(description="the cut")
    codec: str
    source: Source = Field(description="who finished it")
    explored: bool = Field(description="whether it was chosen to learn something")
    predicted_s: float | None = Field(description="median of the prediction")
    predicted_p90_s: float | None
    measured_s: float = Field(description="from the batch's start to its result")
    hindsight_s: float = Field(description="what the best choice would have taken, by all that was known afterwards")
    rate_bytes_per_s: float | None = Field(description="estimated uplink afterwards")
    wire_bytes: int = Field(description="sent")
    timings: dict[str, float] = Field(description="seconds of each step, by name")
    cause: str | None = Field(description="why it was finished locally, else null")

    @property
    def regret(self) -> float:
        """How much longer the batch took than the best choice would have, as a share."""
        return self.measured_s / self.hindsight_s - 1.0 if self.hindsight_s > 0.0 else 0.0


class HistoryDocument(Document):
    """The last batches, oldest first."""

    ROUTE: ClassVar[str] = "history"

    records: tuple[Record, ...]


class ChangeAnswer(Document):
    """What a change did."""

    message: str = Field(description="for people")


class ErrorBody(Part):
    """A refusal."""

    code: str = Field(description="stable name: `usage`, `config`, `overload`, `forbidden`, `http`, ...")
    message: str = Field(description="for people; names the way out where there is one")


class ErrorDocument(Document):
    """What any route answers with, beside an HTTP status of 400 or above, when it refuses."""

    error: ErrorBody


class PinBody(Part):
    """What to pin."""

    cut: str = Field(description="a name from `splits`, `input` (full offloading) or `output` (local)")
    codec: str | None = Field(None, description="a codec too; null leaves it free")
