"""splitd: one neural network on two machines, split where it finishes soonest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from splitd.agent.client import Client, Result, pack_inputs

__all__ = ["Client", "Result", "__version__", "pack_inputs"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Load the client when it is asked for: every command imports this package, few of them ask a daemon."""
    if name not in {"Client", "Result", "pack_inputs"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from splitd.agent import client  # noqa: PLC0415

    return getattr(client, name)
