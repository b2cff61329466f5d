"""The chain on its device with input to run on: timed passes, and single crossings as both daemons make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from splitd.calibration.chain import Array, Engine, Live, Throttle
from splitd.calibration.images import Samples, prepare_image
from splitd.native import crossing


@dataclass(frozen=True)
class Sent:
    """What a device has sent of one batch at one position with one codec."""

    label: str
    tensors: tuple[Array, ...]
    pieces: tuple[crossing.Piece, ...]

    @property
    def wire_bytes(self) -> int:
        """Bytes of all its messages, headers included."""
        return crossing.wire_bytes(self.tensors, self.pieces)

    @cached_property
    def chunks(self) -> list[list[crossing.Piece]]:
        """The pieces of each tensor, as a receiver has them."""
        return [[piece for piece in self.pieces if piece.tensor_index == i] for i in range(len(self.tensors))]


@dataclass(frozen=True)
class Bench:
    """A chain at full speed, and samples for the largest batch: images, or prepared tensors."""

    engine: Engine
    samples: Samples

    def prepare(self, samples: Samples) -> Live:
        """Make the chain's input from samples, images normalised, in the runner's buffers."""
        return self.engine.to_input(samples)

    def send(self, label: str, given: Samples | Live) -> Sent:
        """Do what a device does once it has `given`, samples or what is live at a cut: to the host, and encode."""
        arrays = self.engine.to_arrays(given) if isinstance(given, tuple) else (given,)
        tensors = crossing.tensors_of(arrays, label)
        return Sent(label, tensors, tuple(crossing.encode(tensors, label)))

    def decode(self, sent: Sent) -> tuple[Array, ...]:
        """Do what a server does with the chunks; images come back as the batch (B, H, W, 3)."""
        if not crossing.is_image(sent.label):
            return crossing.decode(sent.tensors, sent.chunks)
        batch = crossing.batch_of(sent.tensors, sent.chunks, len(self.samples))
        prepare = partial(prepare_image, preprocessing=self.engine.preprocessing)
        return (crossing.decode_input(sent.tensors, sent.chunks, batch, self.engine.sample_shape, prepare),)

    def resume(self, label: str, arrays: tuple[Array, ...]) -> Live:
        """Do what a server does with what it decoded: the tail's input on the device."""
        return self.prepare(arrays[0]) if crossing.is_image(label) else self.engine.from_arrays(arrays)

    def laps(self, batch: int, throttle: Throttle | None = None) -> tuple[float, ...]:
        """Run one pass; return the busy seconds of preparation, then of each of the K segments.

        The last one includes moving the result to the host. With a throttle the processor idles after each, which is
        not counted.
        """
        watch = self.engine.runner.stopwatch()
        slowed = throttle if throttle is not None else Throttle(None)

        def lap(work: Callable[[], Live]) -> Live:
            with slowed:
                watch.mark()
                live = work()
                watch.mark()
            return live

        live = lap(lambda: self.prepare(self.samples[:batch]))
        for i in range(self.engine.last):
            live = lap(partial(self._segment, i, live))
        return watch.laps()[::2]

    def _segment(self, i: int, live: Live) -> Live:
        live = self.engine.runner.segment(i, live)
        if i == self.engine.last - 1:
            self.engine.to_arrays(live)
        return live
