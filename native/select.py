"""Chooses the backend: the compiled codecs, or with SPLITD_PURE_PYTHON=1 their Python twin."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from splitd.native.plan import ChunkPlan
    from splitd.native.spec import Bytes

_BUILD_HINT = (
    "splitd's compiled codecs (splitd.native._codec) are missing: {error}. Mend it with `pip install --force-reinstall "
    "splitd` where a wheel or a C compiler is at hand, or in a checkout with `python setup.py build_ext --inplace`; "
    "SPLITD_PURE_PYTHON=1 runs the slow Python twin instead."
)


class Backend(Protocol):
    """One chunk in, one chunk out, for float32 tensors; both backends make the same bytes."""

    @property
    def NAME(self) -> str:  # noqa: N802 - a module's constant
        """`compiled` or `pure`."""

    def encode(self, codec: int, values: npt.NDArray[np.float32], plan: ChunkPlan, out: bytearray | memoryview) -> int:
        """Encodes the elements of `plan` of a flat, contiguous tensor into `out`.

        Returns the bytes written, or -1 where the codec cannot carry a value (not finite, out of range); `out` then
        holds anything. CodecError: wrong dtype, contradicting sizes, or `out` below `max_encoded_bytes`.
        """

    def decode(self, codec: int, payload: Bytes, plan: ChunkPlan, out: npt.NDArray[np.float32]) -> None:
        """Decodes into the elements of `plan` of a flat, contiguous tensor.

        CodecError: a payload that no encoder writes, of the wrong length, or sizes that contradict each other.
        """

    def max_encoded_bytes(self, codec: int, plan: ChunkPlan) -> int:
        """What `encode` needs in `out`, its scratch included."""

    def shuffle(self, data: Bytes, item_bytes: int) -> bytearray:
        """Groups byte k of every item."""

    def unshuffle(self, data: Bytes, item_bytes: int) -> bytearray:
        """The way back from `shuffle`."""


def load_backend(pure: bool | None = None) -> Backend:
    """The backend that SPLITD_PURE_PYTHON asks for, or the one named; ImportError says how to mend a missing one."""
    if pure is None:
        pure = os.environ.get("SPLITD_PURE_PYTHON", "0") not in ("", "0")
    if pure:
        return cast("Backend", import_module("splitd.native.pure"))
    try:
        return cast("Backend", import_module("splitd.native._codec"))
    except ImportError as error:
        raise ImportError(_BUILD_HINT.format(error=error)) from error
