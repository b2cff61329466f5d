"""Puts the chunks of one request (or one reply) back together. Sans-IO; knows nothing of codecs.

Chunks may come in any order and nothing they say is believed until all of them agree: same tensors, no chunk twice,
and ranges that cover each tensor exactly once.
"""

from __future__ import annotations

from splitd.errors import WireError
from splitd.transport.estimate import Arrival
from splitd.transport.wire.limits import CHUNK_OVERHEAD_BYTES, MAX_CHUNKS_PER_REQUEST, MAX_TENSOR_BYTES
from splitd.transport.wire.messages import ArrivalTimes, Chunk, TensorMeta


class _Tensor:
    """The chunks of one tensor that have come so far."""

    def __init__(self, first: Chunk) -> None:
        self.meta = first.tensor
        self.chunk_count = first.chunk_count
        self.chunks: dict[int, Chunk] = {}

    def add(self, chunk: Chunk) -> None:
        if (chunk.tensor, chunk.chunk_count) != (self.meta, self.chunk_count):
            raise WireError(
                f"tensor {chunk.tensor_index} is {self.meta} in {self.chunk_count} chunks, then {chunk.tensor} in "
                f"{chunk.chunk_count}"
            )
        if chunk.chunk_index in self.chunks:
            raise WireError(f"chunk {chunk.chunk_index} of tensor {chunk.tensor_index} came twice")
        self.chunks[chunk.chunk_index] = chunk

    @property
    def is_complete(self) -> bool:
        return len(self.chunks) == self.chunk_count

    def in_order(self) -> tuple[Chunk, ...]:
        chunks = tuple(self.chunks[index] for index in range(self.chunk_count))
        at = 0
        for chunk in chunks:
            if chunk.first_element != at:
                raise WireError(f"chunk {chunk.chunk_index} starts at element {chunk.first_element}, not at {at}")
            at += chunk.n_elements
        if at != self.meta.n_elements:
            raise WireError(f"the chunks hold {at} elements of a tensor of {self.meta.n_elements}")
        return chunks


class Assembly:
    """One request's or reply's chunks; `add` them until `is_complete`, then take `tensors` and `chunks`.

    Raises WireError as soon as two chunks contradict each other.
    """

    def __init__(self, first: Chunk) -> None:
        self.model_digest = first.model_digest
        self.cut = first.cut
        self.deadline_ms = first.deadline_ms
        self.tensor_count = first.tensor_count
        self.pending_bytes = 0
        self.arrivals: list[Arrival] = []
        self._tensors: dict[int, _Tensor] = {}
        self._chunk_count = 0
        self._decoded_bytes = 0

    def add(self, chunk: Chunk, arrival: Arrival) -> None:
        """Take in one chunk that arrived as `arrival` says."""
        if (chunk.model_digest, chunk.cut, chunk.tensor_count) != (self.model_digest, self.cut, self.tensor_count):
            raise WireError("two chunks of one request disagree about model, cut or number of tensors")
        tensor = self._tensors.get(chunk.tensor_index)
        if tensor is None:
            tensor = self._tensors[chunk.tensor_index] = self._open_tensor(chunk)
        tensor.add(chunk)
        self.pending_bytes += len(chunk.payload) + CHUNK_OVERHEAD_BYTES
        self.arrivals.append(arrival)

    @property
    def is_complete(self) -> bool:
        """True once every chunk of every tensor is there."""
        return len(self._tensors) == self.tensor_count and all(t.is_complete for t in self._tensors.values())

    @property
    def tensors(self) -> tuple[TensorMeta, ...]:
        """The tensors in order; only when complete."""
        return tuple(self._tensors[index].meta for index in range(self.tensor_count))

    def chunks(self) -> tuple[tuple[Chunk, ...], ...]:
        """Return the chunks of each tensor in order; raises WireError unless they cover each exactly once."""
        return tuple(self._tensors[index].in_order() for index in range(self.tensor_count))

    def _open_tensor(self, chunk: Chunk) -> _Tensor:
        self._chunk_count += chunk.chunk_count
        self._decoded_bytes += chunk.tensor.n_bytes
        if self._chunk_count > MAX_CHUNKS_PER_REQUEST:
            raise WireError(f"a request of {self._chunk_count} chunks; at most {MAX_CHUNKS_PER_REQUEST} are allowed")
        if self._decoded_bytes > MAX_TENSOR_BYTES:
            raise WireError(f"a request of {self._decoded_bytes} decoded bytes; at most {MAX_TENSOR_BYTES} are allowed")
        return _Tensor(chunk)


def arrival_times(arrivals: list[Arrival]) -> ArrivalTimes:
    """Return arrivals relative to the first one, which is how they cross the link."""
    start_s = arrivals[0].t_s if arrivals else 0.0
    return ArrivalTimes(tuple(a.t_s - start_s for a in arrivals), tuple(a.n_bytes for a in arrivals))


def as_arrivals(times: ArrivalTimes) -> tuple[Arrival, ...]:
    """Return a peer's arrivals, on a clock that starts with the first of them."""
    return tuple(Arrival(t_s, n_bytes) for t_s, n_bytes in zip(times.offsets_s, times.n_bytes, strict=True))
