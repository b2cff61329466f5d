"""Jobs of one batch become one array: images decoded and resized, tensors checked; bad inputs are told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from splitd.agent.batcher import Job
from splitd.agent.messages import Item, Kind
from splitd.calibration.preprocess import Preprocessing, prepare_image
from splitd.errors import InputError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Inputs:
    """The good part of a batch, and the jobs that cannot be run.

    Attributes:
        jobs: The jobs whose inputs are in `batch`, in order.
        batch: uint8 (B, H, W, 3) images, or float32 (B, C, H, W) prepared tensors.
        rejected: The other jobs, each with what is wrong.
    """

    jobs: tuple[Job, ...]
    batch: Array | None
    rejected: tuple[tuple[Job, InputError], ...]


def prepare(jobs: list[Job], preprocessing: Preprocessing) -> Inputs:
    """Turn the inputs of `jobs` (one kind, see Batcher) into one array."""
    good: list[Job] = []
    samples: list[Array] = []
    rejected: list[tuple[Job, InputError]] = []
    for job in jobs:
        try:
            ready = [_prepare_item(job.request.kind, item, preprocessing) for item in job.request.items]
        except InputError as error:
            rejected.append((job, error))
        else:
            good.append(job)
            samples.extend(ready)
    return Inputs(tuple(good), np.stack(samples) if samples else None, tuple(rejected))


def _prepare_item(kind: Kind, item: Item, preprocessing: Preprocessing) -> Array:
    if kind != "float32":
        return prepare_image(item, preprocessing)
    assert not isinstance(item, bytes)  # noqa: S101  (decode_request made an array of it)
    if item.shape != preprocessing.size:
        raise InputError(
            f"a prepared float32 tensor has shape {preprocessing.size} (channels, height, width), not {item.shape}"
        )
    return item
