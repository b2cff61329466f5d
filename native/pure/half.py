"""Twin of half.h: numpy's own conversions round the same way."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from splitd.errors import CodecError

OVERFLOW = np.float32(65520.0)
"""The smallest magnitude that rounds to infinity."""


def encode(x: npt.NDArray[np.float32]) -> bytes | None:
    """Halves as bytes; None if a value is not finite or rounds to infinity."""
    if x.size and not np.abs(x).max() < OVERFLOW:
        return None
    with np.errstate(under="ignore"):
        return x.astype(np.float16).tobytes()


def decode(payload: npt.NDArray[np.uint8], x: npt.NDArray[np.float32]) -> None:
    """Into x; CodecError on a wrong length or on values that are not finite."""
    if payload.size != 2 * x.size:
        raise CodecError("the payload's length contradicts its contents")
    halves = np.frombuffer(payload.tobytes(), np.float16)
    x[:] = halves
    if not np.isfinite(halves).all():
        raise CodecError("the payload holds parameters that no encoder writes")
