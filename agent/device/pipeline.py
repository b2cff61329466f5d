"""Batches through the agent: prepare, decide, run, learn, answer. One thread, one batch at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from splitd.agent.client import Answer, Record
from splitd.agent.decide import Decision, Done, Remote
from splitd.agent.device.batcher import Job
from splitd.agent.device.inputs import Inputs
from splitd.agent.device.intake import Intake
from splitd.agent.device.offload import Offload, Outcome
from splitd.agent.device.steering import Steering
from splitd.agent.runtime import AgentMetrics, History
from splitd.calibration.chain import Engine
from splitd.errors import InputError, SplitdError

log = logging.getLogger(__name__)

POLL_S = 0.2
HANG_S = 60.0  # beyond the longest deadline that a batch of a slow device needs; the watchdog then takes over


class Pipeline:
    """Takes batches from the intake until it is stopped."""

    def __init__(
        self,
        engine: Engine,
        intake: Intake,
        steering: Steering,
        offload: Offload,
        *,
        history: History,
        metrics: AgentMetrics,
    ) -> None:
        self._engine = engine
        self._intake = intake
        self._steering = steering
        self._offload = offload
        self._history = history
        self._metrics = metrics
        self._stopping = threading.Event()
        self._errand: Callable[[], None] | None = None
        self._busy_since_s: float | None = None
        self._thread = threading.Thread(target=self._loop, name="pipeline", daemon=True)
        self.answered = 0
        self.failed = 0

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the present batch, then end."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def between_batches(self, errand: Callable[[], None]) -> bool:
        """Have the pipeline's thread run something before its next batch; False if an errand is under way already."""
        if self._errand is not None:
            return False
        self._errand = errand
        return True

    def alive(self) -> bool:
        """Tell whether the loop runs and no batch has taken longer than any batch may."""
        since_s = self._busy_since_s
        return self._thread.is_alive() and (since_s is None or time.monotonic() - since_s < HANG_S)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._run_errand()
            jobs = self._intake.next_batch(POLL_S)
            if jobs is None:
                continue
            self._busy_since_s = time.monotonic()
            try:
                self._run(jobs)
            except Exception as error:
                log.exception("a batch failed")
                self._fail(jobs, SplitdError(f"internal error: {error}"))
            self._busy_since_s = None

    def _run_errand(self) -> None:
        if self._errand is None:
            return
        try:
            self._errand()
        except SplitdError as error:
            log.warning("%s: %s", error.code, error)
        finally:
            self._errand = None

    def _run(self, jobs: list[Job]) -> None:
        started_s = time.monotonic()
        inputs = Inputs(jobs, self._engine)
        decision = self._steering.decide(inputs.wanted())
        try:
            outcome = self._offload.run(decision.chosen.cost, inputs, decision.give_up_s)
        except InputError:  # each job has its own, which says more
            outcome = None
        measured_s = time.monotonic() - started_s
        for job, error in inputs.rejected:
            self._fail([job], error)
        if outcome is not None:
            self._answer(inputs, decision, outcome)
            self._learn(inputs, decision, outcome, measured_s)

    def _answer(self, inputs: Inputs, decision: Decision, outcome: Outcome) -> None:
        chosen = decision.chosen.cost
        now_s, first = time.monotonic(), 0
        for job in inputs.jobs:
            outputs = tuple(output[first : first + job.size] for output in outcome.outputs)
            first += job.size
            timings = {**outcome.timings, "total": now_s - job.received_s}
            answer = Answer(job.request.request_id, outputs, chosen.name, chosen.codec, outcome.source, timings)
            self._intake.finish(job, answer)
            self.answered += 1

    def _learn(self, inputs: Inputs, decision: Decision, outcome: Outcome, measured_s: float) -> None:
        rate = self._steering.uplink_rate()
        lesson = self._steering.learn(decision, _done(inputs, outcome, measured_s, rate))
        chosen, predicted = decision.chosen.cost, decision.chosen.predicted
        record = Record(
            time=time.time(),
            batch=inputs.size,
            split=chosen.name,
            codec=chosen.codec,
            source=outcome.source,
            explored=decision.explored,
            predicted_s=predicted.p50 if predicted else None,
            predicted_p90_s=predicted.p90 if predicted else None,
            measured_s=measured_s,
            hindsight_s=lesson.hindsight_s,
            rate_bytes_per_s=rate,
            wire_bytes=outcome.wire_bytes,
            timings=outcome.timings,
            cause=outcome.cause,
        )
        switched = self._history.add(record)
        self._metrics.on_batch(record, switched=switched)
        if outcome.cause is not None:
            log.warning("a batch cut at %s was finished here: %s", chosen.name, outcome.cause)

    def _fail(self, jobs: Sequence[Job], error: SplitdError) -> None:
        for job in jobs:
            self.failed += 1
            self._metrics.errors.labels(error.code).inc()
            self._intake.finish(job, error)


def _done(inputs: Inputs, outcome: Outcome, measured_s: float, rate_bytes_per_s: float | None) -> Done:
    """Return what the Decider learns from; plain numbers, so that a recording can hold them."""
    server = None if outcome.reply is None else outcome.reply.server
    return Done(
        now_s=time.monotonic(),
        measured_s=measured_s,
        head_s=outcome.timings.get("head", 0.0) + inputs.prepare_s,
        prepare_s=inputs.prepare_s,
        samples=inputs.size,
        kind=inputs.kind,
        given_up=outcome.source == "finished-locally",
        remote=None if server is None else Remote(server.queue_s, server.decode_s, server.compute_s),
        rate_bytes_per_s=rate_bytes_per_s,
    )
