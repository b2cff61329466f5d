"""The chain on its device with input to run on: timed passes, and single crossings as both daemons make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch

from splitd.calibration.chain import Array, Live, Partition, Throttle, from_arrays, to_arrays, to_input
from splitd.calibration.images import Images, Preprocessing, prepare_image
from splitd.calibration.measure.stopwatch import stopwatch_for
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
    """A chain, the device that it is on, and uint8 images (n, H, W, 3) for the largest batch."""

    partition: Partition
    preprocessing: Preprocessing
    device: torch.device
    images: Images

    def prepare(self, images: Images) -> Live:
        """Make the chain's input from uint8 images: normalised float32 on the device."""
        return to_input(images, self.preprocessing, self.device)

    def send(self, label: str, given: Images | Live) -> Sent:
        """Do what a device does once it has `given`, images or what is live at a cut: to the host, and encode."""
        arrays = to_arrays(given) if isinstance(given, tuple) else (given,)
        tensors = crossing.tensors_of(arrays, label)
        return Sent(label, tensors, tuple(crossing.encode(tensors, label)))

    def decode(self, sent: Sent) -> tuple[Array, ...]:
        """Do what a server does with the chunks; images come back as the batch (B, H, W, 3)."""
        if not crossing.is_image(sent.label):
            return crossing.decode(sent.tensors, sent.chunks)
        batch = crossing.batch_of(sent.tensors, sent.chunks, len(self.images))
        prepare = partial(prepare_image, preprocessing=self.preprocessing)
        return (crossing.decode_input(sent.tensors, sent.chunks, batch, self.preprocessing.size, prepare),)

    def resume(self, label: str, arrays: tuple[Array, ...]) -> Live:
        """Do what a server does with what it decoded: the tail's input on the device."""
        return self.prepare(arrays[0]) if crossing.is_image(label) else from_arrays(arrays, self.device)

    def laps(self, batch: int, throttle: Throttle | None = None) -> tuple[float, ...]:
        """Run one pass; return the busy seconds of preparation, then of each of the K segments.

        The last one includes moving the result to the host. With a throttle the processor idles after each, which is
        not counted.
        """
        watch = stopwatch_for(self.device)
        slowed = throttle if throttle is not None else Throttle(None)

        def lap(work: Callable[[], Live]) -> Live:
            with slowed:
                watch.mark()
                live = work()
                watch.mark()
            return live

        live = lap(lambda: self.prepare(self.images[:batch]))
        for i in range(self.partition.K):
            live = lap(partial(self._segment, i, live))
        return watch.laps()[::2]

    def _segment(self, i: int, live: Live) -> Live:
        live = self.partition.segment(i, live)
        if i == self.partition.K - 1:
            to_arrays(live)
        return live
