"""splitd: one neural network on two machines, split where it finishes soonest."""

__version__ = "0.1.0"
