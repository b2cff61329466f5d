"""One batch by one choice: head here, tail there, and from the kept activation here when there fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from splitd.agent import crossing
from splitd.agent.decision import CandidateCost
from splitd.agent.messages import Source
from splitd.agent.network import Array, Live, Network, to_arrays
from splitd.errors import DeadlineError, LinkError, OverloadError, RemoteError, WireError
from splitd.transport.requests import Reply, RequestMeta
from splitd.transport.session import Session


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

    def __init__(self, network: Network, session: Session) -> None:
        self._network = network
        self._session = session

    def run(self, choice: CandidateCost, batch: Array, give_up_s: float) -> Outcome:
        """Run one batch.

        Args:
            choice: The cut and codec.
            batch: uint8 (B, H, W, 3) or float32 (B, C, H, W).
            give_up_s: Monotonic time after which the server is waited for no longer and the rest is done here.
        """
        outcome = Outcome()
        if choice.kind == "local":
            outcome.source = "local"
            with outcome.stage("head"):
                outcome.outputs = self._network.tail(0, self._network.to_input(batch))
            return outcome
        live = self._head(choice, batch, outcome)
        try:
            self._remote(choice, to_arrays(live) if live is not None else (batch,), give_up_s, outcome)
        except (LinkError, RemoteError, DeadlineError, WireError, OverloadError) as error:
            outcome.cause = f"{error.code}: {error}"
            self._finish_locally(choice, batch, live, outcome)
        return outcome

    def _head(self, choice: CandidateCost, batch: Array, outcome: Outcome) -> Live | None:
        """Return the activation at the cut; None where the uint8 image itself crosses."""
        if choice.codec == crossing.RAW:
            return None
        with outcome.stage("head"):
            return self._network.head(choice.cut, self._network.to_input(batch))

    def _remote(self, choice: CandidateCost, arrays: tuple[Array, ...], give_up_s: float, outcome: Outcome) -> None:
        pieces = crossing.encode(arrays, choice.codec)
        with self._session.open(RequestMeta(choice.cut, crossing.metas(arrays), give_up_s)) as exchange:
            while (piece := self._next(pieces, outcome)) is not None:
                outcome.wire_bytes += len(piece.chunk.payload)
                with outcome.stage("send"):
                    exchange.send(piece.chunk, piece.tensor_index, piece.plan, piece.chunk_index, piece.chunk_count)
            with outcome.stage("wait"):
                outcome.reply = exchange.result()
        outcome.outputs = outcome.reply.outputs

    def _next(self, pieces: Iterator[crossing.Piece], outcome: Outcome) -> crossing.Piece | None:
        with outcome.stage("encode"), self._network.throttle:
            return next(pieces, None)

    def _finish_locally(self, choice: CandidateCost, batch: Array, live: Live | None, outcome: Outcome) -> None:
        outcome.source = "finished-locally"
        with outcome.stage("finish"):
            start = live if live is not None else self._network.to_input(batch)
            outcome.outputs = self._network.tail(choice.cut, start)
