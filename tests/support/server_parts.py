"""The edge server's parts without a network: the requests that an endpoint would hand over, and what answers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from splitd.calibration.chain import Engine
from splitd.calibration.measure.obtain import CalibrationSettings, obtain_profile
from splitd.calibration.model import ModelSpec
from splitd.calibration.profile import LatencyProfile
from splitd.native import crossing
from splitd.transport.estimate import Arrival
from splitd.transport.server import IncomingRequest
from splitd.transport.wire import Chunk, ServerTimings, TensorMeta
from tests.support.chains import open_engine

Array = npt.NDArray[Any]
MODEL = ModelSpec("tests.support.tiny:make", "random:1", 64)


@dataclass
class Answers:
    """Takes the answers, as the endpoint does."""

    replies: list[tuple[tuple[Array, ...], ServerTimings]] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)

    def send_reply(self, request: IncomingRequest, outputs: Sequence[Array], timings: ServerTimings) -> None:
        del request
        self.replies.append((tuple(outputs), timings))

    def send_error(self, request: IncomingRequest, code: str, message: str) -> None:
        del request
        self.errors.append((code, message))


def engine() -> Engine:
    return open_engine(MODEL)


def profile_of(engine: Engine, state_dir: Any) -> LatencyProfile:
    settings = CalibrationSettings("server", batch_sizes=(1, 4), codecs=("f32", "raw"), repeats=3)
    return obtain_profile(engine, settings, state_dir=state_dir).profile


def incoming(
    answers: Answers,
    cut: int,
    given: Sequence[Array] | Sequence[bytes],
    codec: str,
    *,
    deadline_s: float | None = None,
) -> IncomingRequest:
    """A complete request, as the device's `offload` sends it."""
    tensors = crossing.tensors_of(given, codec)
    chunks: list[list[Chunk]] = [[] for _ in tensors]
    metas = tuple(TensorMeta(tensor.shape, tensor.dtype.name) for tensor in tensors)
    for piece in crossing.encode(tensors, codec):
        chunks[piece.tensor_index].append(
            Chunk(
                model_digest="0" * 32,
                deadline_ms=None,
                cut=cut,
                tensor_index=piece.tensor_index,
                tensor_count=len(tensors),
                tensor=metas[piece.tensor_index],
                codec=piece.codec,
                flags=piece.flags,
                chunk_index=piece.chunk_index,
                chunk_count=piece.chunk_count,
                first_element=piece.first_element,
                n_elements=piece.n_elements,
                payload=bytes(piece.payload),
            )
        )
    return IncomingRequest(
        answers,
        key=(b"device", 1, 1),
        client="device",
        cut=cut,
        deadline_s=deadline_s,
        tensors=metas,
        chunks=tuple(tuple(parts) for parts in chunks),
        arrivals=(Arrival(0.0, 1),),
    )


def images(batch: int = 2, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (batch, 64, 64, 3), np.uint8)
