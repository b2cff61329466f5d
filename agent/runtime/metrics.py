"""Prometheus metrics of both daemons, each in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from splitd.agent.client import Record

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
RATIO = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class AgentMetrics:
    """What the agent counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._batches = Counter(
            "splitd_batches", "Batches by split, codec and source", ["split", "codec", "source"], registry=self.registry
        )
        self._seconds = Histogram(
            "splitd_batch_seconds", "End-to-end time of a batch", registry=self.registry, buckets=SECONDS
        )
        self._error = Histogram(
            "splitd_prediction_error_ratio",
            "|measured - predicted| / measured, end-to-end",
            registry=self.registry,
            buckets=RATIO,
        )
        self._regret = Histogram(
            "splitd_regret_ratio",
            "measured / best choice in hindsight (modelled) - 1",
            registry=self.registry,
            buckets=RATIO,
        )
        self._switches = Counter("splitd_split_switches", "Changes of split or codec", registry=self.registry)
        self._sent = Counter("splitd_sent_bytes", "Tensor bytes sent", registry=self.registry)
        self.errors = Counter("splitd_errors", "Requests that ended in an error", ["code"], registry=self.registry)
        self.rate = Gauge("splitd_link_rate_bytes_per_second", "Estimated uplink rate", registry=self.registry)
        self.rtt = Gauge("splitd_link_rtt_seconds", "Estimated round trip", registry=self.registry)
        self.queued = Gauge("splitd_queued_requests", "Requests that wait", registry=self.registry)

    def on_batch(self, record: Record, *, switched: bool) -> None:
        """Count one finished batch."""
        self._batches.labels(record.split, record.codec, record.source).inc()
        self._seconds.observe(record.measured_s)
        self._sent.inc(record.wire_bytes)
        if switched:
            self._switches.inc()
        self._regret.observe(record.regret)
        if record.predicted_s is not None and record.measured_s > 0:
            self._error.observe(abs(record.measured_s - record.predicted_s) / record.measured_s)

    def render(self) -> bytes:
        """Return the Prometheus text exposition."""
        return generate_latest(self.registry)


class ServerMetrics:
    """What the edge server counts. Labels are names of cuts and error codes: none that a device could make up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "splitd_server_requests", "Tails by cut and outcome", ["cut", "outcome"], registry=self.registry
        )
        self._compute = Histogram(
            "splitd_server_compute_seconds", "Time of a tail", registry=self.registry, buckets=SECONDS
        )
        self._queue = Histogram(
            "splitd_server_queue_seconds", "Wait for the processor", registry=self.registry, buckets=SECONDS
        )

    def on_answer(self, cut: str, *, queue_s: float, compute_s: float) -> None:
        """Count one request that ended in a result."""
        self._requests.labels(cut, "answered").inc()
        self._compute.observe(compute_s)
        self._queue.observe(queue_s)

    def on_failure(self, cut: str, code: str) -> None:
        """Count one request that ended in a typed error."""
        self._requests.labels(cut, code).inc()

    def show_protocol(self, counters: Callable[[], Mapping[str, int]]) -> None:
        """Show what the protocol counts by itself, by kind; it is asked at every look."""
        self.registry.register(_Counted("splitd_server_protocol_events", "Refused or dropped, by kind", counters))

    def render(self) -> bytes:
        """Return the Prometheus text exposition."""
        return generate_latest(self.registry)


class _Counted(Collector):
    """A counter whose values somebody else keeps."""

    def __init__(self, name: str, about: str, counters: Callable[[], Mapping[str, int]]) -> None:
        self._name = name
        self._about = about
        self._counters = counters

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the present values."""
        family = CounterMetricFamily(self._name, self._about, labels=["kind"])
        for kind, count in self._counters().items():
            family.add_metric([kind], count)
        yield family
