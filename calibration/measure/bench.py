"""The chain on its device with input to run on: single timed passes, from uint8 images to results on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from splitd.calibration.chain import Partition, Tensors, Throttle
from splitd.calibration.images import Images, Preprocessing, normalise
from splitd.calibration.measure.stopwatch import stopwatch_for
from splitd.calibration.profile import Array, Arrays


@dataclass(frozen=True)
class Bench:
    """A chain, the device that it is on, and uint8 images (n, H, W, 3) for the largest batch."""

    partition: Partition
    preprocessing: Preprocessing
    device: torch.device
    images: Images

    def prepare(self, images: Images) -> Tensors:
        """Make the chain's input from uint8 images: normalised float32 on the device."""
        return self.to_device((normalise(images, self.preprocessing),))

    def to_device(self, arrays: Sequence[Array]) -> Tensors:
        """Move arrays to the device."""
        return tuple(torch.from_numpy(array).to(self.device) for array in arrays)

    def laps(self, batch: int, throttle: Throttle | None = None) -> tuple[float, ...]:
        """Run one pass; return the busy seconds of preparation, then of each of the K segments.

        The last one includes moving the result to the host. With a throttle the processor idles after each, which is
        not counted.
        """
        watch = stopwatch_for(self.device)
        slowed = throttle if throttle is not None else Throttle(None)

        def lap(work: Callable[[], Tensors]) -> Tensors:
            with slowed:
                watch.mark()
                live = work()
                watch.mark()
            return live

        live = lap(lambda: self.prepare(self.images[:batch]))
        for i in range(self.partition.K):
            live = lap(partial(self._segment, i, live))
        return watch.laps()[::2]

    def _segment(self, i: int, live: Tensors) -> Tensors:
        live = self.partition.segment(i, live)
        if i == self.partition.K - 1:
            to_host(live)
        return live


def to_host(live: Tensors) -> Arrays:
    """Return tensors as arrays in the host's memory, waiting for the device where it has one of its own."""
    return tuple(np.asarray(tensor.cpu()) for tensor in live)
