"""Twin of huffman.h: code lengths from counts, their compact form, canonical codes and the decoder's table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, count

import numpy as np
import numpy.typing as npt

from splitd.errors import CodecError

MAX_CODE_BITS = 11
TABLE_SIZE = 1 << MAX_CODE_BITS
MAX_SYMBOLS = 256
ABSENT = MAX_CODE_BITS + 1


def lengths_of(counts: Sequence[int], alphabet: int) -> list[int]:
    """Lengths of a complete prefix code of at most 11 bits; 0 where a symbol has no count."""
    order = sorted((counts[s], s) for s in range(alphabet) if counts[s])
    lengths = [0] * alphabet
    if len(order) == 1:
        only = order[0][1]
        lengths[only] = lengths[only ^ 1] = 1
        return lengths
    depths = _limited(_depths([weight for weight, _ in order]))
    for (_, symbol), depth in zip(order, depths, strict=True):
        lengths[symbol] = depth
    return lengths


def _depths(weights: Sequence[int]) -> list[int]:
    """Depths of Huffman's tree over ascending weights, by the method of two queues."""
    n, leaf, node = len(weights), 0, 0
    inner: list[int] = []
    parents = [0] * (2 * n - 1)
    for made in range(n - 1):
        weight = 0
        for _ in range(2):
            if leaf < n and (node >= made or weights[leaf] <= inner[node]):
                weight, parents[leaf], leaf = weight + weights[leaf], made, leaf + 1
            else:
                weight, parents[n + node], node = weight + inner[node], made, node + 1
        inner.append(weight)
    inner_depths = [0] * (n - 1)
    for i in range(n - 3, -1, -1):
        inner_depths[i] = inner_depths[parents[n + i]] + 1
    return [inner_depths[parents[i]] + 1 for i in range(n)]


def _limited(depths: list[int]) -> list[int]:
    depths = [min(depth, MAX_CODE_BITS) for depth in depths]
    kraft = sum(TABLE_SIZE >> depth for depth in depths)
    for i in count():
        if kraft <= TABLE_SIZE:
            break
        while kraft > TABLE_SIZE and depths[i] < MAX_CODE_BITS:
            depths[i] += 1
            kraft -= TABLE_SIZE >> depths[i]
    while kraft < TABLE_SIZE:
        for i in reversed(range(len(depths))):
            while depths[i] > 1 and kraft + (TABLE_SIZE >> depths[i]) <= TABLE_SIZE:
                kraft += TABLE_SIZE >> depths[i]
                depths[i] -= 1
    return depths


def codes_of(lengths: Sequence[int]) -> list[int]:
    """Canonical codes; CodecError unless the lengths make a complete code."""
    if sum(TABLE_SIZE >> length for length in lengths if length) != TABLE_SIZE:
        raise CodecError("the payload's code lengths make no complete prefix code")
    codes, code, previous = [0] * len(lengths), 0, 0
    for length, symbol in sorted((length, s) for s, length in enumerate(lengths) if length):
        code <<= length - previous
        codes[symbol] = code
        code, previous = code + 1, length
    return codes


def table_of(lengths: Sequence[int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Symbol and length for every next 11 bits."""
    symbols = np.zeros(TABLE_SIZE, np.uint8)
    taken = np.zeros(TABLE_SIZE, np.uint8)
    codes = codes_of(lengths)
    for symbol in compress(range(len(lengths)), lengths):
        unused = MAX_CODE_BITS - lengths[symbol]
        places = slice(codes[symbol] << unused, (codes[symbol] + 1) << unused)
        symbols[places] = symbol
        taken[places] = lengths[symbol]
    return symbols, taken


def _predicted(known: Sequence[int], stride: int) -> int:
    left = known[-1] if known else ABSENT
    above = known[len(known) - stride] if len(known) >= stride else left
    return (left + above) // 2


def write_lengths(lengths: Sequence[int], stride: int) -> bytes:
    """The compact form: differences from the prediction in 1, 3 or 6 bits."""
    known: list[int] = []
    bits = held = 0
    for given in lengths:
        length, near = given or ABSENT, _predicted(known, stride)
        code, size = {0: (0, 1), -1: (1, 3), 1: (5, 3)}.get(length - near, (3 | length << 2, 6))
        bits |= code << held
        held += size
        known.append(length)
    return bits.to_bytes((held + 7) // 8, "little")


def read_lengths(payload: bytes, alphabet: int, stride: int) -> tuple[list[int], int]:
    """Lengths and the bytes they took; CodecError if they end early or are none."""
    bits, held, used = int.from_bytes(payload[:MAX_SYMBOLS], "little"), 8 * min(len(payload), MAX_SYMBOLS), 0
    known: list[int] = []
    for _ in range(alphabet):
        near, window = _predicted(known, stride), bits >> used & 63
        step = 1 if not window & 1 else 3 if not window & 2 else 6
        length = {1: near, 3: near + 1 if window & 4 else near - 1, 6: window >> 2}[step]
        used += step
        if used > held or not 0 < length <= ABSENT:
            raise CodecError("the payload's code lengths make no complete prefix code")
        known.append(length)
    return [0 if length == ABSENT else length for length in known], (used + 7) // 8
