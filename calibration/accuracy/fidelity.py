"""How far a codec at a cut changes what the model says: samples through head, encode, decode and tail.

The reference is the full-precision model on the same images. The tail runs on what a server would decode, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from splitd.calibration.chain import Array, Engine
from splitd.calibration.images import Samples
from splitd.calibration.measure import Bench
from splitd.calibration.profile import CrossingKey, rounded
from splitd.native.crossing import is_lossless

BATCH = 8  # images in one pass: 59 MB at the largest cut of EfficientNetV2-L

Arrays = tuple[Array, ...]

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Fidelity:
    """One codec at one cut, against the full-precision model.

    `agreeing` of `samples` images have the same top-1 class (the index of the largest value of the model's first
    output). `relative_error` is ‖y' - y‖ / ‖y‖ over all outputs of all images; `snr_db` compares what is decoded with
    what was encoded. Both are infinite where they are nothing else: no finite outputs, or no error at all.
    """

    agreeing: int
    samples: int
    relative_error: float
    snr_db: float

    @property
    def agreement(self) -> float:
        """Top-1 agreement, 0..1."""
        return self.agreeing / self.samples


def measure_fidelity(
    engine: Engine,
    samples: Samples,
    codecs: Sequence[str],
    *,
    progress: Progress | None = None,
) -> dict[CrossingKey, Fidelity]:
    """Measure every lossy codec at every position it goes with; lossless ones change nothing and are left out.

    Args:
        engine: The chain and what runs it.
        samples: Images, or prepared tensors where the network takes no images; at least one.
        codecs: Labels; those of images are measured at k = 0, the others at the cuts.
        progress: Called with the share done, 0..1, and what is being measured.

    Raises:
        CodecError: A codec is unknown.
    """
    bench = Bench(engine.at_full_speed(), samples)
    plain = list(dict.fromkeys(_plain(label) for label in codecs if not is_lossless(label)))
    tallies: dict[CrossingKey, _Tally] = {}
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        for k, label, trial in _trials(bench, batch, plain):
            tallies.setdefault((k, label), _Tally()).add(trial)
            if progress is not None:
                done = (start + len(batch) * k / engine.last) / len(samples)
                progress(done, f"accuracy of {label} at {engine.names[k]}")
    engine.runner.trim()
    return {(k, label): tallies[k, _plain(label)].result() for k, label in _asked(engine, codecs)}


@dataclass(frozen=True)
class _Trial:
    """What one codec did to one batch: the outputs with and without it, what was encoded, and what came out."""

    expected: Arrays
    outputs: Arrays
    sent: Arrays
    received: Arrays


def _trials(bench: Bench, samples: Samples, labels: Sequence[str]) -> Iterator[tuple[int, str, _Trial]]:
    engine = bench.engine
    live = bench.prepare(samples)
    expected = engine.tail(0, live)
    for k in range(engine.last):
        sent: Arrays = engine.to_arrays(live) if k else (samples,)
        for label in labels:
            if engine.crosses(k, label):
                received = bench.decode(bench.send(label, live if k else samples))
                outputs = engine.tail(k, bench.resume(label, received))
                yield k, label, _Trial(expected, outputs, sent, received)
        live = engine.runner.segment(k, live)


class _Tally:
    """Adds up trials of one codec at one cut."""

    def __init__(self) -> None:
        self._agreeing = 0
        self._samples = 0
        self._output = _Energies()
        self._crossing = _Energies()

    def add(self, trial: _Trial) -> None:
        self._agreeing += int(np.sum(_top1(trial.outputs[0]) == _top1(trial.expected[0])))
        self._samples += len(trial.expected[0])
        self._output.add(trial.expected, trial.outputs)
        self._crossing.add(trial.sent, trial.received)

    def result(self) -> Fidelity:
        return Fidelity(self._agreeing, self._samples, self._output.relative_error(), self._crossing.snr_db())


class _Energies:
    """Sums of squares of a signal and of its error, in double precision."""

    def __init__(self) -> None:
        self._signal = 0.0
        self._error = 0.0

    def add(self, expected: Arrays, got: Arrays) -> None:
        for reference, changed in zip(expected, got, strict=True):
            exact = reference.astype(np.float64)
            self._signal += float(np.sum(exact**2))
            self._error += float(np.sum((changed - exact) ** 2))

    def relative_error(self) -> float:
        if self._error == 0:
            return 0.0
        ratio = self._error / self._signal if self._signal else math.inf
        return rounded(math.sqrt(ratio)) if math.isfinite(ratio) else math.inf

    def snr_db(self) -> float:
        error = self.relative_error()
        return rounded(-20 * math.log10(error)) if error else math.inf


def _asked(engine: Engine, codecs: Sequence[str]) -> list[CrossingKey]:
    lossy = [label for label in codecs if not is_lossless(label)]
    return [(k, label) for k in range(engine.last) for label in lossy if engine.crosses(k, label)]


def _plain(label: str) -> str:
    """Return the codec without LZ4, which is lossless: both have one fidelity."""
    return label.removesuffix("+lz4")


def _top1(output: Array) -> npt.NDArray[np.intp]:
    return np.asarray(output.reshape(len(output), -1).argmax(axis=1))
