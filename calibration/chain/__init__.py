"""A model cut into segments on one device: heads and tails over one set of weights, slowed down where asked."""

from splitd.calibration.chain.engine import Array, Engine, Live, to_arrays
from splitd.calibration.chain.partition import Partition, Tensors
from splitd.calibration.chain.throttle import Throttle

__all__ = ["Array", "Engine", "Live", "Partition", "Tensors", "Throttle", "to_arrays"]
