"""A network as a chain of segments, whatever runs them: what crosses where, heads and tails, a slower device emulated.

It works on numpy arrays and on buffers that only the runner understands, and needs no torch.
"""

from splitd.calibration.chain.description import MAX_LIVE, ChainDescription, CutFacts, TensorSpec, printable
from splitd.calibration.chain.engine import Engine
from splitd.calibration.chain.runner import Array, Live, Runner, contiguous, release_heap
from splitd.calibration.chain.stopwatch import CpuStopwatch, Stopwatch
from splitd.calibration.chain.throttle import Throttle

__all__ = [
    "MAX_LIVE",
    "Array",
    "ChainDescription",
    "CpuStopwatch",
    "CutFacts",
    "Engine",
    "Live",
    "Runner",
    "Stopwatch",
    "TensorSpec",
    "Throttle",
    "contiguous",
    "printable",
    "release_heap",
]
