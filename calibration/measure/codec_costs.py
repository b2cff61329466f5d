"""Measures what crosses at every position with every codec: bytes on the wire, seconds to encode or to decode."""

from __future__ import annotations

from collections.abc import Callable

from splitd.calibration.chain import Live
from splitd.calibration.images import Samples
from splitd.calibration.measure.bench import Bench
from splitd.calibration.profile import CodecCost, CrossingKey, Measurement, ProfileKey, measure

Cell = tuple[int, Measurement]
Progress = Callable[[float, str], None]


def measure_codecs(bench: Bench, key: ProfileKey, repeats: int, progress: Progress) -> dict[CrossingKey, CodecCost]:
    """Return the cost of every codec at every position it goes with.

    The activations are those of the bench's samples, one batch size and one position at a time, so that no more than
    one position's are in memory. A device is measured for encoding, which includes moving the tensors to the host; a
    server for decoding, which includes moving them to its device, and at k = 0 making the chain's input.

    Raises:
        CodecError: The key names an unknown codec.
    """
    cells: dict[CrossingKey, list[Cell]] = {}
    engine = bench.engine
    for turn, batch in enumerate(key.batch_sizes):
        samples = bench.samples[:batch]
        live = bench.prepare(samples)
        for k in range(engine.last):
            progress(
                (turn + k / engine.last) / len(key.batch_sizes), f"codecs at {engine.names[k]}, batches of {batch}"
            )
            for label in (codec for codec in key.codecs if engine.crosses(k, codec)):
                cells.setdefault((k, label), []).append(_measure(bench, label, live if k else samples, key, repeats))
            live = engine.runner.segment(k, live)
    return {where: _cost(key, row) for where, row in cells.items()}


def _measure(bench: Bench, label: str, given: Samples | Live, key: ProfileKey, repeats: int) -> Cell:
    sent = bench.send(label, given)
    sync = bench.engine.runner.synchronise
    if key.role == "device":
        timed = measure(lambda: bench.send(label, given), repeats=repeats, sync=sync)
    else:
        timed = measure(lambda: bench.resume(label, bench.decode(sent)), repeats=repeats, sync=sync)
    # A throttled processor idles for the rest of the time, which is computed instead of waited for.
    return sent.wire_bytes, Measurement.of([sample / key.throttle for sample in timed.samples])


def _cost(key: ProfileKey, cells: list[Cell]) -> CodecCost:
    wire_bytes = tuple(n_bytes for n_bytes, _ in cells)
    row = tuple(timed for _, timed in cells)
    return CodecCost(wire_bytes, encode=row) if key.role == "device" else CodecCost(wire_bytes, decode=row)
