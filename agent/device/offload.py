"""One batch by one choice: head here, tail there, and from the kept activation here when there fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from splitd.agent.client import Source
from splitd.agent.decide import CandidateCost
from splitd.agent.device.inputs import Inputs
from splitd.calibration.chain import Array, Engine, Live
from splitd.errors import DeadlineError, LinkError, OverloadError, RemoteError, SplitdError, WireError
from splitd.native import crossing
from splitd.transport.device import Reply, RequestMeta, Session
from splitd.transport.wire import TensorMeta

# What the server or the link can do to a request; the rest of the batch is then done here.
FAILURES = (LinkError, RemoteError, DeadlineError, WireError, OverloadError)


@dataclass
class Outcome:
    """How a batch was done: its outputs, by whom, and the seconds of each stage.

    `cause` says why the server did not finish what it was given; `reply` is what it said, with the transfer's times.
    """

    outputs: tuple[Array, ...] = ()
    source: Source = "server"
    timings: dict[str, float] = field(default_factory=dict)
    wire_bytes: int = 0
    cause: str | None = None
    reply: Reply | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to stage `name`."""
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - started_s


class Offload:
    """Runs batches; used by one thread."""

    def __init__(self, engine: Engine, session: Session) -> None:
        self._engine = engine
        self._session = session

    def run(self, choice: CandidateCost, inputs: Inputs, give_up_s: float) -> Outcome:
        """Run one batch.

        Args:
            choice: The cut and codec.
            inputs: The batch; it is prepared here unless the application's own files cross.
            give_up_s: Monotonic time after which the server is waited for no longer and the rest is done here.

        Raises:
            InputError: No job of the batch has usable inputs.
        """
        outcome = Outcome()
        if choice.kind == "local":
            outcome.source = "local"
            with outcome.stage("head"):
                outcome.outputs = self._engine.tail(0, self._engine.to_input(inputs.prepared()))
        elif crossing.is_image(choice.codec):
            self._send_image(choice, inputs, give_up_s, outcome)
        else:
            self._split(choice, inputs, give_up_s, outcome)
        outcome.timings["prepare"] = inputs.prepare_s
        return outcome

    def _send_image(self, choice: CandidateCost, inputs: Inputs, give_up_s: float, outcome: Outcome) -> None:
        given = (inputs.files() or ()) if choice.codec == crossing.AS_GIVEN else (inputs.prepared(),)
        try:
            with outcome.stage("encode"), self._engine.throttle:
                tensors = crossing.tensors_of(given, choice.codec)
            self._remote(choice.cut, tensors, choice.codec, give_up_s, outcome)
        except FAILURES as error:
            self._finish(0, lambda: self._engine.to_input(inputs.prepared()), error, outcome)

    def _split(self, choice: CandidateCost, inputs: Inputs, give_up_s: float, outcome: Outcome) -> None:
        batch = inputs.prepared()
        with outcome.stage("head"):
            live = self._engine.head(choice.cut, self._engine.to_input(batch))
        try:
            with outcome.stage("encode"), self._engine.throttle:
                arrays = self._engine.to_arrays(live)
            self._remote(choice.cut, arrays, choice.codec, give_up_s, outcome)
        except FAILURES as error:
            self._finish(choice.cut, lambda: live, error, outcome)

    def _remote(self, cut: int, tensors: Sequence[Array], codec: str, give_up_s: float, outcome: Outcome) -> None:
        pieces = crossing.encode(tensors, codec)
        metas = tuple(TensorMeta(tensor.shape, tensor.dtype.name) for tensor in tensors)
        with self._session.open(RequestMeta(cut, metas, give_up_s)) as exchange:
            while (piece := self._next(pieces, outcome)) is not None:
                outcome.wire_bytes += crossing.wire_bytes(tensors, (piece,))
                with outcome.stage("send"):
                    exchange.send(piece.chunk, piece.tensor_index, piece.plan, piece.chunk_index, piece.chunk_count)
            with outcome.stage("wait"):
                outcome.reply = exchange.result()
        outcome.outputs = outcome.reply.outputs

    def _next(self, pieces: Iterator[crossing.Piece], outcome: Outcome) -> crossing.Piece | None:
        with outcome.stage("encode"), self._engine.throttle:
            return next(pieces, None)

    def _finish(self, cut: int, live: Callable[[], Live], error: SplitdError, outcome: Outcome) -> None:
        """Do the rest here, from what is kept."""
        outcome.source = "finished-locally"
        outcome.cause = f"{error.code}: {error}"
        with outcome.stage("finish"):
            outcome.outputs = self._engine.tail(cut, live())
