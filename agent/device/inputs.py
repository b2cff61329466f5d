"""The inputs of one batch: told by kind and size at once, decoded and resized only when that is needed here."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from splitd.agent.client import Item, Kind
from splitd.agent.decide import Wanted
from splitd.agent.device.batcher import Job
from splitd.calibration.chain import Engine
from splitd.calibration.images import prepare_image
from splitd.errors import InputError

Array = npt.NDArray[Any]

JPEG_START = b"\xff\xd8\xff"
FILE_CHANNELS = (1, 3)  # grey or colour


class Inputs:
    """The jobs of a batch, all of one kind.

    Attributes:
        jobs: The jobs that can be run; those with bad inputs are moved to `rejected` by `prepared`.
        rejected: Jobs that cannot be run, each with what is wrong.
        kind: What the applications gave.
        size: Number of samples when the batch was formed.
        prepare_s: Seconds that preparing took here; 0 while nothing was prepared.
    """

    def __init__(self, jobs: list[Job], engine: Engine) -> None:
        self.jobs: tuple[Job, ...] = tuple(jobs)
        self.rejected: list[tuple[Job, InputError]] = []
        self.kind: Kind = jobs[0].request.kind
        self.size = sum(job.size for job in jobs)
        self.prepare_s = 0.0
        self._engine = engine
        self._batch: Array | None = None

    def wanted(self) -> Wanted:
        """Return what the Decider has to know of the batch."""
        files = self.files() if self.kind == "encoded" else None
        return Wanted(
            batch=self.size,
            kind=self.kind,
            is_image=self.kind != "float32",
            jpeg_bytes=sum(map(len, files)) if files else 0,
            deadline_s=min(job.deadline_s for job in self.jobs),
        )

    def files(self) -> tuple[bytes, ...] | None:
        """Return the applications' own files if all of them are JPEG and the network takes files, else None."""
        known = self._engine.preprocessing
        if known is None or known.size[0] not in FILE_CHANNELS:
            return None
        items = [item for job in self.jobs for item in job.request.items]
        files = tuple(item for item in items if isinstance(item, bytes) and item.startswith(JPEG_START))
        return files if files and len(files) == len(items) else None

    def prepared(self) -> Array:
        """Return uint8 images (B, H, W, 3), or float32 tensors (B, C, H, W) as given; bad jobs are rejected.

        Raises:
            InputError: No job is left.
        """
        if self._batch is None:
            started_s = time.monotonic()
            with self._engine.throttle:
                self._batch = self._prepare()
            self.prepare_s = time.monotonic() - started_s
        return self._batch

    def _prepare(self) -> Array:
        good: list[Job] = []
        samples: list[Array] = []
        for job in self.jobs:
            try:
                ready = [_prepare_item(item, self._engine) for item in job.request.items]
            except InputError as error:
                self.rejected.append((job, error))
            else:
                good.append(job)
                samples.extend(ready)
        self.jobs = tuple(good)
        if not samples:
            raise InputError("no input of this batch can be used")
        return samples[0][None] if len(samples) == 1 else np.stack(samples)


def _prepare_item(item: Item, engine: Engine) -> Array:
    if isinstance(item, bytes) or item.dtype == np.uint8:
        image: Array = prepare_image(item, engine.preprocessing)
        return image
    if item.shape != engine.sample_shape:
        raise InputError(f"a prepared float32 tensor has shape {engine.sample_shape} here, not {item.shape}")
    return item
