"""A model cut into segments on one device: heads and tails over one set of weights, slowed down where asked."""

from splitd.calibration.chain.engine import Array, Engine, from_arrays, to_arrays, to_input
from splitd.calibration.chain.partition import Live, Partition
from splitd.calibration.chain.throttle import Throttle

__all__ = ["Array", "Engine", "Live", "Partition", "Throttle", "from_arrays", "to_arrays", "to_input"]
