"""Measures what every head, tail and codec of a chain costs on this machine."""

from __future__ import annotations

from splitd.calibration.chain import Engine
from splitd.calibration.images import Samples, generated_samples, repeated
from splitd.calibration.measure.bench import Bench
from splitd.calibration.measure.chain_times import time_chain
from splitd.calibration.measure.codec_costs import Progress, measure_codecs
from splitd.calibration.profile import LatencyProfile, ProfileKey
from splitd.errors import ModelError

CHAIN_SHARE = 0.7  # of the work; the rest goes to the codecs
GENERATED_SAMPLES = 8  # the largest of the default batch sizes; larger batches repeat them


def calibrate(
    engine: Engine,
    key: ProfileKey,
    *,
    repeats: int = 5,
    samples: Samples | None = None,
    progress: Progress | None = None,
) -> LatencyProfile:
    """Measure the chain as `key` says: its role, batch sizes, codecs and throttle.

    A device is measured for heads, tails and encoding, a server for tails and decoding.

    Args:
        engine: The chain and what runs it; making its input from uint8 images is part of a head, and of decoding at
            k = 0. Its own throttle is not used, the key's is.
        key: As `environment.profile_key` makes it for this machine.
        repeats: Timed passes per batch size.
        samples: To run with, images or prepared tensors; default: generated ones.
        progress: Called with the share done, 0..1, and what is being measured.

    Raises:
        ModelError: A batch size does not fit into the device's memory.
        CodecError: The key names an unknown codec.
    """
    most = key.batch_sizes[-1]
    batch = generated_batch(engine, most) if samples is None else repeated(samples, most)
    bench = Bench(engine.at_full_speed(), batch)
    report = progress if progress is not None else _silent
    try:
        times = time_chain(bench, key, repeats, lambda share, doing: report(CHAIN_SHARE * share, doing))
        codecs = measure_codecs(
            bench, key, repeats, lambda share, doing: report(CHAIN_SHARE + (1 - CHAIN_SHARE) * share, doing)
        )
    except MemoryError as error:
        raise ModelError(
            f"batches of {key.batch_sizes[-1]} do not fit into the memory of {key.device}; "
            "leave the largest out of calibration.batch_sizes"
        ) from error
    engine.runner.trim()  # what only the largest batch needed
    report(1.0, "done")
    return LatencyProfile(
        key=key,
        heads=times.heads if key.role == "device" else None,
        tails=times.tails,
        codecs=codecs,
        throttle_ratio=times.throttle_ratio,
    )


def generated_batch(engine: Engine, count: int) -> Samples:
    """Return `count` generated inputs of this network, images or prepared tensors."""
    return repeated(generated_samples(GENERATED_SAMPLES, engine.sample_shape, engine.preprocessing), count)


def _silent(share: float, doing: str) -> None:
    """Report to nobody."""
