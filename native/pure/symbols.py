"""Twin of symbols.h and streams.h: blocks of Huffman-coded symbols, and the estimate of what a block would take."""

from __future__ import annotations

from itertools import pairwise
from math import log2

import numpy as np
import numpy.typing as npt

from splitd.errors import CodecError
from splitd.native.pure import huffman

STREAMS = 4
SIZES_BYTES = 2 * (STREAMS - 1)
LOG_FRACTIONS = [round(256 * log2(1 + f / 256)) for f in range(256)]

Octets = npt.NDArray[np.uint8]


def _log2_scaled(value: int) -> int:
    whole = value.bit_length() - 1
    return whole << 8 | LOG_FRACTIONS[(value << 8 >> whole) & 255]


def entropy_scaled(symbols: Octets) -> int:
    """Zero-order entropy of a sample in 1/256 bit, at least a bit a symbol."""
    counts = [int(c) for c in np.bincount(symbols) if c]
    total = sum(counts)
    bits = total * _log2_scaled(total) - sum(c * _log2_scaled(c) for c in counts) if total else 0
    return max(bits, total << 8)


def write_block(symbols: Octets, alphabet: int, stride: int, limit: int) -> bytes | None:
    """The block, or None if it would not be smaller than `limit`."""
    if not symbols.size:
        return None
    counts = np.bincount(symbols, minlength=alphabet)
    lengths = huffman.lengths_of(counts.tolist(), alphabet)
    bits = int(counts @ np.array(lengths))
    head = huffman.write_lengths(lengths, stride)
    if len(head) + SIZES_BYTES + bits // 8 + STREAMS >= limit:
        return None
    return head + _write_streams(symbols, np.array(lengths), np.array(huffman.codes_of(lengths)))


def read_block(payload: bytes, alphabet: int, stride: int, n: int) -> Octets:
    """Symbols from a block that is all of the payload; CodecError otherwise."""
    lengths, head = huffman.read_lengths(payload, alphabet, stride)
    symbols, taken = huffman.table_of(lengths)
    return _read_streams(payload[head:], symbols, taken, n)


def _bounds(n: int) -> list[int]:
    each = -(-n // STREAMS)
    return [min(n, each * k) for k in range(STREAMS + 1)]


def _write_streams(symbols: Octets, lengths: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]) -> bytes:
    bounds = _bounds(symbols.size)
    streams = [_write_stream(lengths[symbols[low:high]], codes[symbols[low:high]]) for low, high in pairwise(bounds)]
    sizes = b"".join(len(stream).to_bytes(2, "little") for stream in streams[:-1])
    return sizes + b"".join(streams)


def _write_stream(lengths: npt.NDArray[np.int64], codes: npt.NDArray[np.int64]) -> bytes:
    ends = np.cumsum(lengths)
    starts = ends - lengths
    bits = np.zeros(int(ends[-1]) if ends.size else 0, np.uint8)
    for j in range(huffman.MAX_CODE_BITS):
        longer = lengths > j
        bits[starts[longer] + j] = codes[longer] >> (lengths[longer] - 1 - j) & 1
    return np.packbits(bits).tobytes()


def _read_streams(payload: bytes, symbols: Octets, taken: Octets, n: int) -> Octets:
    if len(payload) < SIZES_BYTES:
        raise CodecError("the payload's length contradicts its contents")
    position, bounds, parts = SIZES_BYTES, _bounds(n), []
    for k in range(STREAMS):
        size = int.from_bytes(payload[2 * k : 2 * k + 2], "little")
        end = position + size if k < STREAMS - 1 else len(payload)
        if end > len(payload):
            raise CodecError("the payload's length contradicts its contents")
        parts.append(_read_stream(payload[position:end], symbols, taken, bounds[k + 1] - bounds[k]))
        position = end
    return np.concatenate(parts)


def _read_stream(stream: bytes, symbols: Octets, taken: Octets, n: int) -> Octets:
    """Follows the codes from bit to bit, over what the table says for every position at once."""
    bits = np.unpackbits(np.frombuffer(stream, np.uint8)).astype(np.int64)
    padded = np.concatenate([bits, np.zeros(huffman.MAX_CODE_BITS, np.int64)])
    windows = sum(
        padded[j : j + bits.size + 1] << (huffman.MAX_CODE_BITS - 1 - j) for j in range(huffman.MAX_CODE_BITS)
    )
    steps = taken[windows].tolist()
    places, position = [0] * n, 0
    for i in range(n):
        if position > bits.size:
            break
        places[i] = position
        position += steps[position]
    if (position + 7) // 8 != len(stream):
        raise CodecError("a bit stream of the payload does not end where it should")
    found: Octets = symbols[np.asarray(windows)[places]]
    return found
