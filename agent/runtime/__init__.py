"""What both daemons share: the service loop, phases, control socket, metrics, history, notifications, logs.

Nothing here knows what a daemon is for.
"""

from splitd.agent.runtime.control import Routes
from splitd.agent.runtime.crossing import AS_GIVEN, LOCAL
from splitd.agent.runtime.history import History, Record
from splitd.agent.runtime.logs import set_up_logging
from splitd.agent.runtime.metrics import AgentMetrics, ServerMetrics
from splitd.agent.runtime.phase import Phase
from splitd.agent.runtime.settings import accuracy_settings, calibration_settings, open_engine
from splitd.agent.runtime.views import device_view, model_view

__all__ = [
    "AS_GIVEN",
    "LOCAL",
    "AgentMetrics",
    "History",
    "Phase",
    "Record",
    "Routes",
    "ServerMetrics",
    "accuracy_settings",
    "calibration_settings",
    "device_view",
    "model_view",
    "open_engine",
    "set_up_logging",
]
