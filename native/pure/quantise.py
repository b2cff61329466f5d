"""Twin of quantise.h: the same float32 and float64 operations in the same order, all planes at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from splitd.errors import CodecError

PARAMETER_BYTES = 4
MAX_ZERO_POINT = 32767.0
MIN_STEP = 1.1754943508222875e-38
LIMIT = np.float32(2.0**127)

Floats = npt.NDArray[np.float32]
Octets = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]


def quantise_planes(x: Floats, plane: int, top: int) -> tuple[Words, Octets] | None:
    """Parameter words and values 0..top; None if a value is not finite or too large."""
    planes = x.reshape(-1, plane)
    if not planes.size:
        return np.zeros(0, np.uint32), np.zeros(0, np.uint8)
    low, high = planes.min(axis=1), planes.max(axis=1)
    if not (np.all(high < LIMIT) and np.all(low > -LIMIT)):
        return None
    words, inverse, offset = _quantisers(low, high, top)
    scaled = planes * inverse[:, None] + offset[:, None]
    return words, scaled.astype(np.int32).astype(np.uint8).reshape(-1)


def _quantisers(low: Floats, high: Floats, top: int) -> tuple[Words, Floats, Floats]:
    spread = high.astype(np.float64) - low
    constant = spread == 0.0
    exact = np.maximum(spread * (1.0 / top), np.abs(low.astype(np.float64)) * (1.0 / MAX_ZERO_POINT))
    step = _round_up(np.maximum(exact, MIN_STEP))
    last = high * (np.float32(1.0) / step) + (np.float32(0.5) - _zero_point(low, step).astype(np.float32))
    step = np.where(last >= top + 1, (step.view(np.uint32) + np.uint32(0x10000)).view(np.float32), step)
    zero = _zero_point(low, step)
    words: Words = (zero.view(np.uint32) << np.uint32(16)) | (step.view(np.uint32) >> np.uint32(15))
    words[constant] = (low + np.float32(0.0)).view(np.uint32)[constant] | 1
    inverse: Floats = np.float32(1.0) / step
    offset: Floats = np.float32(0.5) - zero.astype(np.float32)
    inverse[constant] = offset[constant] = 0.0
    return words, inverse, offset


def _zero_point(low: Floats, step: Floats) -> npt.NDArray[np.int32]:
    return (low / step.astype(np.float64) + 32768.5).astype(np.int32) - np.int32(32768)


def _round_up(step: npt.NDArray[np.float64]) -> Floats:
    nearest = step.astype(np.float32)
    bits = nearest.view(np.uint32) + (nearest < step).astype(np.uint32)
    return ((bits + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000)).view(np.float32)


def restore_planes(words: Octets, values: Octets, plane: int, x: Floats) -> None:
    """Into x; CodecError if a plane's parameters are not finite."""
    word = np.frombuffer(words.tobytes(), np.uint32)
    constant = (word & 1).astype(bool)
    step = np.where(constant, word & np.uint32(0xFFFFFFFE), (word & np.uint32(0xFFFE)) << 15).view(np.float32)
    if not np.isfinite(step).all():
        raise CodecError("the payload holds parameters that no encoder writes")
    zero = (word.view(np.int32) >> 16)[:, None]
    with np.errstate(over="ignore", under="ignore"):
        restored = (values.reshape(-1, plane).astype(np.int32) + zero).astype(np.float32) * step[:, None]
    restored[constant] = step[constant, None]
    x[:] = restored.reshape(-1)
