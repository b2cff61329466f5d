"""Ways to turn a float32 tensor into bytes and back: splitd's codecs and what people use today."""

from __future__ import annotations

import io
import pickle  # noqa: TID251 - measured, never trusted
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import blosc2
import lz4.block
import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
import zstandard

from splitd.native import codecs
from splitd.native.plan import plan_chunks
from splitd.native.spec import parse

Floats = npt.NDArray[np.float32]
Encoded = Any


@dataclass(frozen=True)
class Way:
    """`encode` gives something whose size `n_bytes` tells and that `decode` turns back."""

    name: str
    encode: Callable[[Floats], Encoded]
    decode: Callable[[Encoded], Floats]
    n_bytes: Callable[[Encoded], int] = len


def ours(label: str, shape: tuple[int, ...]) -> Way:
    """A splitd codec as the daemons use it: chunk by chunk, into buffers that exist, out into one tensor."""
    spec = parse(label)
    plans = plan_chunks(shape, spec)
    buffers = [bytearray(codecs.max_encoded_bytes(spec, plan)) for plan in plans]
    out = np.empty(int(np.prod(shape)), np.float32)

    def encode(x: Floats) -> list[codecs.EncodedChunk]:
        flat = codecs.flatten(x)
        return [codecs.encode_chunk(spec, flat, plan, buffer) for plan, buffer in zip(plans, buffers, strict=True)]

    def decode(chunks: list[codecs.EncodedChunk]) -> Floats:
        for plan, chunk in zip(plans, chunks, strict=True):
            codecs.decode_chunk(chunk.codec, chunk.flags, chunk.payload, plan, out)
        return out.reshape(shape)

    return Way(label, encode, decode, lambda chunks: sum(len(chunk.payload) for chunk in chunks))


def memcpy(shape: tuple[int, ...]) -> Way:
    """The yardstick: the tensor copied into a buffer that exists."""
    buffer, out = np.empty(shape, np.float32), np.empty(shape, np.float32)

    def copy(target: Floats) -> Callable[[Floats], Floats]:
        def run(x: Floats) -> Floats:
            np.copyto(target, x)
            return target

        return run

    return Way("memcpy", copy(buffer), copy(out), lambda encoded: encoded.nbytes)


def quantise(x: Floats) -> tuple[npt.NDArray[np.uint8], Floats, Floats]:
    """Eight bits per channel in numpy, as one writes it."""
    planes = x.reshape(x.shape[0] * x.shape[1], -1)
    low = planes.min(axis=1, keepdims=True)
    step = (planes.max(axis=1, keepdims=True) - low) / np.float32(255)
    return np.rint((planes - low) / np.where(step > 0, step, np.float32(1))).astype(np.uint8), low, step


def restore(q: npt.NDArray[np.uint8], low: Floats, step: Floats, shape: tuple[int, ...]) -> Floats:
    """The way back from `quantise`."""
    restored: Floats = (q.astype(np.float32) * step + low).reshape(shape)
    return restored


def numpy_int8(name: str, shape: tuple[int, ...], squeeze: Callable[[bytes], bytes], back: Callable[..., bytes]) -> Way:
    """Quantised in numpy, then compressed by `squeeze`."""

    def encode(x: Floats) -> tuple[bytes, Floats, Floats]:
        q, low, step = quantise(x)
        return squeeze(q.tobytes()), low, step

    def decode(encoded: tuple[bytes, Floats, Floats]) -> Floats:
        q = np.frombuffer(back(encoded[0]), np.uint8).reshape(shape[0] * shape[1], -1)
        return restore(q, encoded[1], encoded[2], shape)

    return Way(name, encode, decode, lambda encoded: len(encoded[0]) + encoded[1].nbytes + encoded[2].nbytes)


def _bytes_way(name: str, shape: tuple[int, ...], squeeze: Callable[[Any], bytes], back: Callable[..., bytes]) -> Way:
    return Way(name, lambda x: squeeze(x.data), lambda data: np.frombuffer(back(data), np.float32).reshape(shape))


def _torch_save(x: Floats) -> bytes:
    file = io.BytesIO()
    torch.save(torch.from_numpy(x), file)
    return file.getvalue()


def _blosc(filter_: blosc2.Filter, codec: blosc2.Codec) -> Callable[[Any], bytes]:
    return lambda data: bytes(
        blosc2.compress2(
            np.frombuffer(data, np.float32), typesize=4, codec=codec, clevel=1, nthreads=1, filters=[filter_]
        )
    )


def peers(shape: tuple[int, ...]) -> list[Way]:
    """What people use today, at their fastest level where there are levels."""
    zstd, unzstd = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()
    blosc_ways = [
        _bytes_way(f"blosc2 {f.name.lower()} {c.name.lower()}", shape, _blosc(f, c), blosc2.decompress2)
        for f in (blosc2.Filter.SHUFFLE, blosc2.Filter.BITSHUFFLE)
        for c in (blosc2.Codec.LZ4, blosc2.Codec.ZSTD)
    ]
    return [
        Way("pickle 5", lambda x: pickle.dumps(x, 5), pickle.loads),
        Way("torch.save", _torch_save, lambda data: torch.load(io.BytesIO(data), weights_only=True).numpy()),
        Way("safetensors", lambda x: safetensors.numpy.save({"x": x}), lambda data: safetensors.numpy.load(data)["x"]),
        _bytes_way("lz4.block", shape, lz4.block.compress, lz4.block.decompress),
        _bytes_way("zstd-1", shape, zstd.compress, unzstd.decompress),
        *blosc_ways,
        numpy_int8("numpy int8", shape, bytes, bytes),
        numpy_int8("numpy int8 + lz4", shape, lz4.block.compress, lz4.block.decompress),
        numpy_int8("numpy int8 + zstd-1", shape, zstd.compress, unzstd.decompress),
    ]
