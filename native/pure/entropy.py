"""Twin of entropy.h and exponents.h: modes, splits and predictors around blocks of coded symbols."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from splitd.errors import CodecError
from splitd.native.pure.symbols import entropy_scaled, read_block, write_block

STORED, PAIRS, VALUES, DELTA = 0, 1, 2, 4
PAIR_STRIDE = 16
ROW_BYTES = 2
MAX_ROW = 0xFFFF
SAMPLE_RUNS = 4
SAMPLE_RUN = 1024 // SAMPLE_RUNS
VALUES_HANDICAP = 65

Octets = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_LENGTH = "the payload's length contradicts its contents"
_MODE = "the payload's mode or row width is one that no encoder writes"


def encode_values(q: Octets, plane: int, row: int, bits: int) -> bytes:
    """Values of `bits` bits, mode byte in front."""
    mode = _choose_mode(q, plane, row, bits)
    values, head = q, bytes([mode])
    if mode & DELTA:
        values, head = _subtract_above(q, plane, row, bits), head + row.to_bytes(ROW_BYTES, "little")
    highs, lows = _split(values, bits)
    limit = max(0, highs.size + lows.size - ROW_BYTES)
    if mode & VALUES:
        block = write_block(values, 1 << bits, 1, limit)
        if block:
            return head + block
    elif mode & PAIRS:
        block = write_block(highs, 256, PAIR_STRIDE, max(0, limit - lows.size))
        if block:
            return head + block + lows.tobytes()
    highs, lows = _split(q, bits)
    return bytes([STORED]) + highs.tobytes() + lows.tobytes()


def decode_values(payload: bytes, n: int, plane: int, bits: int) -> Octets:
    """The values; CodecError unless the payload is exactly what an encoder writes."""
    if not payload:
        raise CodecError(_LENGTH)
    mode, body, row = payload[0], payload[1:], 0
    high, low = (n + 1) // 2, (n * (bits - 4) + 7) // 8
    if mode == STORED:
        if len(body) != high + low:
            raise CodecError(_LENGTH)
        return _join(body[:high], body[high:], n, bits)
    if mode & DELTA:
        row, body = int.from_bytes(body[:ROW_BYTES], "little"), body[ROW_BYTES:]
        if not 0 < row < plane:
            raise CodecError(_MODE)
    kind = mode & ~DELTA
    if kind == VALUES:
        values = read_block(body, 1 << bits, 1, n)
    elif kind == PAIRS:
        if len(body) < low:
            raise CodecError(_LENGTH)
        split = len(body) - low
        values = _join(read_block(body[:split], 256, PAIR_STRIDE, high).tobytes(), body[split:], n, bits)
    else:
        raise CodecError(_MODE)
    return _add_above(values, plane, row, bits) if row else values


def encode_exponents(x: Floats) -> bytes:
    """Lossless float32: raw byte planes, then the exponents."""
    turned = np.bitwise_or(x.view(np.uint32) << np.uint32(1), x.view(np.uint32) >> np.uint32(31))
    octets = turned.view(np.uint8).reshape(-1, 4)
    block = write_block(octets[:, 3], 256, 1, x.size)
    planes: bytes = octets[:, :3].T.tobytes()
    exponents: bytes = octets[:, 3].tobytes() if block is None else block
    return bytes([block is not None]) + planes + exponents


def decode_exponents(payload: bytes, x: Floats) -> None:
    """Into x; CodecError unless the payload is exactly what an encoder writes."""
    n = x.size
    if len(payload) < 1 + 3 * n:
        raise CodecError(_LENGTH)
    octets = np.empty((n, 4), np.uint8)
    octets[:, :3] = np.frombuffer(payload, np.uint8, 3 * n, 1).reshape(3, n).T
    coded = payload[1 + 3 * n :]
    if payload[0] == 1:
        octets[:, 3] = read_block(coded, 256, 1, n)
    elif payload[0] != 0:
        raise CodecError(_MODE)
    elif len(coded) != n:
        raise CodecError(_LENGTH)
    else:
        octets[:, 3] = np.frombuffer(coded, np.uint8)
    turned = octets.reshape(-1).view(np.uint32)
    x[:] = np.bitwise_or(turned >> np.uint32(1), turned << np.uint32(31)).view(np.float32)


def _bias(bits: int) -> int:
    return (1 << (bits - 4)) >> 1


def _subtract_above(q: Octets, plane: int, row: int, bits: int) -> Octets:
    planes = q.reshape(-1, plane)
    out = planes.copy()
    out[:, row:] = (planes[:, row:] - planes[:, :-row] + np.uint8(_bias(bits))) & np.uint8((1 << bits) - 1)
    return out.reshape(-1)


def _add_above(values: Octets, plane: int, row: int, bits: int) -> Octets:
    planes = values.reshape(-1, plane).copy()
    for j in range(row, plane, row):
        here = planes[:, j : j + row]
        above = planes[:, j - row : j - row + here.shape[1]]
        planes[:, j : j + row] = (here + above - np.uint8(_bias(bits))) & np.uint8((1 << bits) - 1)
    return planes.reshape(-1)


def _split(q: Octets, bits: int) -> tuple[Octets, Octets]:
    """High bytes of two values each, and the low bits, packed from the lowest."""
    padded = np.concatenate([q, np.zeros(-q.size % 4, np.uint8)])
    high, width = padded >> np.uint8(bits - 4), bits - 4
    highs: Octets = (high[0::2] | high[1::2] << np.uint8(4))[: (q.size + 1) // 2]
    if not width:
        return highs, np.zeros(0, np.uint8)
    low, per_byte = padded & np.uint8((1 << width) - 1), 8 // width
    shifts = np.arange(per_byte, dtype=np.uint8) * width
    packed = (low.reshape(-1, per_byte) << shifts).sum(axis=1, dtype=np.uint8)
    return highs, packed[: (q.size * width + 7) // 8]


def _join(highs: bytes, lows: bytes, n: int, bits: int) -> Octets:
    pairs, width = np.frombuffer(highs, np.uint8), bits - 4
    values: Octets = np.stack([pairs & np.uint8(15), pairs >> np.uint8(4)], axis=1).reshape(-1)[:n] << np.uint8(width)
    if not width:
        return values
    shifts = np.arange(8 // width, dtype=np.uint8) * width
    low = (np.frombuffer(lows, np.uint8)[:, None] >> shifts) & np.uint8((1 << width) - 1)
    return values | low.reshape(-1)[:n]


def _choose_mode(q: Octets, plane: int, row: int, bits: int) -> int:
    if q.size < 2:
        return STORED
    plain, mode = _cheaper_kind(_sample(q, plane, 0, bits), bits)
    if not 0 < row < plane or row > MAX_ROW:
        return mode
    predicted, delta_mode = _cheaper_kind(_sample(q, plane, row, bits), bits)
    return delta_mode | DELTA if predicted < plain else mode


def _cheaper_kind(sample: Octets, bits: int) -> tuple[int, int]:
    pairs = sample[: sample.size // 2 * 2].reshape(-1, 2) >> np.uint8(bits - 4)
    cost = entropy_scaled(pairs[:, 0] | pairs[:, 1] << np.uint8(4)) + (sample.size * (bits - 4) << 8)
    values = entropy_scaled(sample) * VALUES_HANDICAP // 64
    return (values, VALUES) if values < cost else (cost, PAIRS)


def _sample(q: Octets, plane: int, row: int, bits: int) -> Octets:
    run = min(q.size, SAMPLE_RUN)
    runs = min(q.size // run, SAMPLE_RUNS)
    parts = []
    for k in range(runs):
        first = (q.size - run) * k // (runs - 1) & ~1 if runs > 1 else 0
        part = q[first : first + run]
        if row and first % plane >= row:
            part = (part - q[first - row : first - row + run] + np.uint8(_bias(bits))) & np.uint8((1 << bits) - 1)
        parts.append(part)
    return np.concatenate(parts)
