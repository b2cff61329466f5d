"""What pings, probes and arrival times say about the link: round trip, rates, and their bounds.

Sans-IO: numbers and the time come in as arguments, estimates go out. It knows no message and no socket.

The comments of the constants speak of two yardsticks, which `python -m tests.support.sensitivity` shows for each of
them halved and doubled: *error*, the relative error of predicted transfer times on recorded real links that are steady
(as it is: median 0.87 %, p90 2.83 %), and *regret*, the mean of simulated replays (0.99 %; differences below 0.2 are
luck). "Does as well" means: no difference in either. That is no proof for other links.
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
