"""The codecs at work: one chunk of a tensor to payload bytes and back.

The payload layouts are in docs/codecs.md. The codec and the flags go with every chunk, because a chunk may fall back:
values that a codec cannot carry (NaN, infinities, out of range) travel as F32, and LZ4 is left off where it gains
nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import lz4.block
import numpy as np
import numpy.typing as npt

from splitd.errors import CodecError
from splitd.native.plan import ChunkPlan
from splitd.native.select import Backend, load_backend
from splitd.native.spec import CODECS, FLAG_LZ4, KNOWN_FLAGS, OWN_BYTES, Bytes, CodecId, CodecSpec

_FLOAT32 = np.dtype(np.float32)

Array = npt.NDArray[Any]


class EncodedChunk(NamedTuple):
    """One chunk's payload, and the codec and flags that it really has."""

    payload: memoryview
    codec: CodecId
    flags: int


def flatten(array: Array) -> Array:
    """The elements in C order as one contiguous dimension; copies only where the array is not contiguous."""
    return np.ascontiguousarray(array).reshape(-1)


class TensorCodec:
    """The codecs over one backend. Stateless: any number of threads may use one object."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._encode, self._decode = backend.encode, backend.decode

    def max_encoded_bytes(self, spec: CodecSpec, plan: ChunkPlan, itemsize: int = 4) -> int:
        """What an output buffer for `encode_chunk` must hold, fallbacks included."""
        raw = plan.n_elements * itemsize
        if spec.codec in OWN_BYTES:
            return raw
        return max(raw, self.backend.max_encoded_bytes(spec.codec, plan))

    def encode_chunk(
        self, spec: CodecSpec, array: Array, plan: ChunkPlan, out: bytearray | memoryview | None = None
    ) -> EncodedChunk:
        """Encodes the elements of `plan` of a flattened tensor, into `out` where given.

        The payload is a view: of `out`, of a new buffer, or, for plain F32, of the array itself (no copy), so neither
        may change before the chunk is sent. Tensors that are not float32 travel as their own bytes, as F32 does.
        CodecError: an array that is not flat and contiguous, a plan outside of it, or `out` too small.
        """
        codec, flags = spec.codec, spec.flags
        if codec in OWN_BYTES or array.dtype != _FLOAT32:
            return self._encode_raw(spec, array, plan)
        if out is None:
            out = bytearray(self.max_encoded_bytes(spec, plan))
        written = self._encode(codec, array, plan, out)
        if written < 0:
            return self._encode_raw(spec, array, plan)
        chunk = EncodedChunk(memoryview(out)[:written], codec, 0)
        return self._pressed(chunk) if flags & FLAG_LZ4 else chunk

    def decode_chunk(self, codec: int, flags: int, payload: Bytes, plan: ChunkPlan, out: Array) -> None:
        """Decodes a payload into the elements of `plan` of `out`, a flattened tensor of the right dtype.

        Any bytes are safe. CodecError: unknown codec or flags, a length or contents that no encoder makes, a plan
        outside of `out`; the chunk's elements then hold anything.
        """
        if flags & ~KNOWN_FLAGS:
            raise CodecError(f"unknown codec flags {flags:#x}")
        if flags & FLAG_LZ4:
            payload = self._expanded(codec, payload, plan, out.itemsize)
        if codec in OWN_BYTES:
            _decode_raw(payload, plan, out)
        else:
            self._decode(codec, payload, plan, out)

    def _encode_raw(self, spec: CodecSpec, array: Array, plan: ChunkPlan) -> EncodedChunk:
        codec = spec.codec if spec.codec in OWN_BYTES else CodecId.F32
        chunk = EncodedChunk(_run_bytes(array, plan).data, codec, 0)
        return self._pressed(chunk, array.itemsize) if spec.flags & FLAG_LZ4 else chunk

    def _pressed(self, chunk: EncodedChunk, itemsize: int = 4) -> EncodedChunk:
        """The chunk under LZ4, or unchanged where that is not smaller."""
        item_bytes = _item_bytes(chunk.codec, itemsize)
        body = chunk.payload if item_bytes == 1 else self.backend.shuffle(chunk.payload, item_bytes)
        pressed = lz4.block.compress(body, store_size=False)
        if len(pressed) >= len(chunk.payload):
            return chunk
        return EncodedChunk(memoryview(pressed), chunk.codec, FLAG_LZ4)

    def _expanded(self, codec: int, payload: Bytes, plan: ChunkPlan, itemsize: int) -> Bytes:
        """Undoes `_pressed`. The size is known beforehand, so a decompression bomb has no room to go off."""
        size = self._plain_bytes(codec, plan, itemsize)
        try:
            body = lz4.block.decompress(payload, uncompressed_size=size)
        except (lz4.block.LZ4BlockError, ValueError, OverflowError) as error:
            raise CodecError(f"LZ4 payload: {error}") from error
        if len(body) != size:
            raise CodecError(f"LZ4 payload holds {len(body)} bytes, its chunk {size}")
        item_bytes = _item_bytes(codec, itemsize)
        return body if item_bytes == 1 else self.backend.unshuffle(body, item_bytes)

    def _plain_bytes(self, codec: int, plan: ChunkPlan, itemsize: int) -> int:
        entry = CODECS.get(codec)
        if entry is None or not entry.takes_lz4:
            raise CodecError(f"codec {codec} does not go with LZ4")
        if entry.own_bytes:
            return plan.n_elements * itemsize
        return self.backend.max_encoded_bytes(codec, plan)


def _item_bytes(codec: int, itemsize: int) -> int:
    entry = CODECS[codec]
    return itemsize if entry.own_bytes else entry.value_bytes


def _run_bytes(array: Array, plan: ChunkPlan) -> npt.NDArray[np.uint8]:
    """The bytes of the plan's elements, in place."""
    first, n = plan.first_element, plan.n_elements
    if array.ndim != 1 or not array.flags.c_contiguous:
        raise CodecError("the tensor is not flat and contiguous; see flatten()")
    if first < 0 or n < 0 or first + n > array.size:
        raise CodecError(f"elements {first}..{first + n} are outside a tensor of {array.size}")
    return array.view(np.uint8)[first * array.itemsize : (first + n) * array.itemsize]


def _decode_raw(payload: Bytes, plan: ChunkPlan, out: Array) -> None:
    target = _run_bytes(out, plan)
    source = np.frombuffer(payload, np.uint8)
    if source.size != target.size:
        raise CodecError(f"a raw payload of {source.size} bytes for {target.size} bytes of elements")
    target[:] = source


_default = TensorCodec(load_backend())
encode_chunk = _default.encode_chunk
decode_chunk = _default.decode_chunk
max_encoded_bytes = _default.max_encoded_bytes
