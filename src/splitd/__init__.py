"""splitd: one neural network on two machines, split where it finishes soonest."""

from splitd.agent.client import Client, Result

__all__ = ["Client", "Result", "__version__"]
__version__ = "0.1.0"
