"""The server's backends: a new one is a class here, with its name in `BACKENDS` and in docs/configuration.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy.typing as npt

if TYPE_CHECKING:
    from splitd.calibration.chain import Engine

Array = npt.NDArray[Any]
Tail: TypeAlias = Callable[[], tuple[Array, ...]]


class ServerBackend(Protocol):
    """Runs tails. Called by one thread at a time, the server's worker."""

    def load(self, cut: int, arrays: Sequence[Array]) -> Tail:
        """Bring what crossed at `cut` to where it will be computed; return the tail, which runs when it is called.

        At cut 0 `arrays` is one batch, uint8 images (B, H, W, 3) or prepared float32 tensors (B, C, H, W); at the
        others the cut's live tensors, float32. Loading is measured as decoding and the call as computing, and agents
        plan with both: nothing may be put off from one to the other.

        Raises:
            SplitdError: It cannot be run; so may the tail.
        """


class LocalBackend:
    """Runs tails on the engine of this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load(self, cut: int, arrays: Sequence[Array]) -> Tail:
        """See ServerBackend."""
        engine = self._engine
        live = engine.to_input(arrays[0]) if cut == 0 else engine.from_arrays(arrays)
        return lambda: engine.tail(cut, live)


BACKENDS: Mapping[str, Callable[[Engine], ServerBackend]] = {"local": LocalBackend}
