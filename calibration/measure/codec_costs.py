"""Measures what crosses at every position with every codec: payload bytes, and the time to encode or to decode it."""

from __future__ import annotations

from collections.abc import Callable

from splitd.calibration.chain import Tensors
from splitd.calibration.images import Images
from splitd.calibration.measure.bench import Bench, to_host
from splitd.calibration.measure.stopwatch import synchroniser
from splitd.calibration.profile import (
    Arrays,
    CodecCost,
    Crossing,
    CrossingKey,
    Measurement,
    ProfileKey,
    encode_crossing,
    is_image_codec,
    measure,
)

Cell = tuple[int, Measurement]
Progress = Callable[[float, str], None]


def measure_codecs(bench: Bench, key: ProfileKey, repeats: int, progress: Progress) -> dict[CrossingKey, CodecCost]:
    """Return the cost of every codec at every position it goes with.

    The activations are those of the bench's images, one batch size and one position at a time, so that no more than
    one position's are in memory. A device is measured for encoding, which includes moving the tensors to the host; a
    server for decoding, which includes moving them to its device, and at k = 0 making the chain's input.

    Raises:
        CodecError: The key names an unknown codec.
    """
    cells: dict[CrossingKey, list[Cell]] = {}
    chain = bench.partition
    for turn, batch in enumerate(key.batch_sizes):
        images = bench.images[:batch]
        live = bench.prepare(images)
        for k in range(chain.K):
            progress((turn + k / chain.K) / len(key.batch_sizes), f"codecs at {chain.names[k]}, batches of {batch}")
            for label in (codec for codec in key.codecs if is_image_codec(codec) == (k == 0)):
                task = _ImageTask(bench, label, images) if k == 0 else _TensorTask(bench, label, live)
                cells.setdefault((k, label), []).append(_measure(task, key, repeats))
            live = chain.segment(k, live)
    return {where: _cost(key, row) for where, row in cells.items()}


class _TensorTask:
    """Activations on the device, to payload bytes and back."""

    def __init__(self, bench: Bench, label: str, live: Tensors) -> None:
        self.bench = bench
        self._label = label
        self._live = live

    def encode(self) -> Crossing:
        return encode_crossing(self._label, to_host(self._live))

    def receive(self, arrays: Arrays) -> Tensors:
        return self.bench.to_device(arrays)


class _ImageTask:
    """Images in the host's memory, to payload bytes, and those to the chain's input."""

    def __init__(self, bench: Bench, label: str, images: Images) -> None:
        self.bench = bench
        self._label = label
        self._images = images

    def encode(self) -> Crossing:
        return encode_crossing(self._label, (self._images,))

    def receive(self, arrays: Arrays) -> Tensors:
        return self.bench.prepare(arrays[0])


def _measure(task: _TensorTask | _ImageTask, key: ProfileKey, repeats: int) -> Cell:
    sent = task.encode()
    sync = synchroniser(task.bench.device)
    if key.role == "device":
        timed = measure(task.encode, repeats=repeats, sync=sync)
    else:
        timed = measure(lambda: task.receive(sent.decode()), repeats=repeats, sync=sync)
    return sent.n_bytes, Measurement.of([sample / key.throttle for sample in timed.samples])


def _cost(key: ProfileKey, cells: list[Cell]) -> CodecCost:
    wire_bytes = tuple(n_bytes for n_bytes, _ in cells)
    row = tuple(timed for _, timed in cells)
    return CodecCost(wire_bytes, encode=row) if key.role == "device" else CodecCost(wire_bytes, decode=row)
