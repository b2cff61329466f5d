"""What pings, probes and arrival times say about the link: round trip, rates, and their bounds.

Sans-IO: numbers and the time come in as arguments, estimates go out. It knows no message and no socket.
"""

from splitd.transport.estimate.link import EstimatorConfig, LinkEstimate, LinkEstimator
from splitd.transport.estimate.observations import Arrival, Quantiles, Transfer, TransferKind
from splitd.transport.estimate.path import INITIAL_WINDOW_BYTES, PathModel
from splitd.transport.estimate.prober import ProbeConfig, ProbePlan, Prober
from splitd.transport.estimate.state import ESTIMATOR_TYPES, Json, load_state, save_state

__all__ = [
    "ESTIMATOR_TYPES",
    "INITIAL_WINDOW_BYTES",
    "Arrival",
    "EstimatorConfig",
    "Json",
    "LinkEstimate",
    "LinkEstimator",
    "PathModel",
    "ProbeConfig",
    "ProbePlan",
    "Prober",
    "Quantiles",
    "Transfer",
    "TransferKind",
    "load_state",
    "save_state",
]
