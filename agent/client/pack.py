"""Several inputs of a network as the one row that crosses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from splitd.agent.client.protocol import as_float32


def pack_inputs(*arrays: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return one sample's inputs, in the order of the network's `example_inputs`, as one float32 row (N,).

    Raises:
        InputError: Whole numbers above 2**24, which float32 does not hold.
    """
    rows: list[npt.NDArray[Any]] = [as_float32(np.asarray(array)).reshape(-1) for array in arrays]
    return np.concatenate(rows, dtype=np.float32)
