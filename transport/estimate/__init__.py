"""What pings, probes and arrival times say about the link: round trip, rates, and their bounds.

Sans-IO: numbers and the time come in as arguments, estimates go out. It knows no message and no socket.
"""

from splitd.transport.estimate.link import LinkEstimate, LinkEstimator
from splitd.transport.estimate.observations import Arrival, Quantiles, Transfer, TransferKind
from splitd.transport.estimate.path import INITIAL_WINDOW_BYTES, PathModel
from splitd.transport.estimate.prober import ProbeConfig, ProbePlan, Prober

__all__ = [
    "INITIAL_WINDOW_BYTES",
    "Arrival",
    "LinkEstimate",
    "LinkEstimator",
    "PathModel",
    "ProbeConfig",
    "ProbePlan",
    "Prober",
    "Quantiles",
    "Transfer",
    "TransferKind",
]
