"""What both daemons share: the service loop, phases, control socket, metrics, history, notifications, logs.

Nothing here knows what a daemon is for.
"""

from splitd.agent.runtime.control import Routes, View, starting_routes
from splitd.agent.runtime.history import History
from splitd.agent.runtime.improver import Improver
from splitd.agent.runtime.logs import set_up_logging
from splitd.agent.runtime.metrics import AgentMetrics, ServerMetrics
from splitd.agent.runtime.phase import Phase, StoppedError
from splitd.agent.runtime.service import run
from splitd.agent.runtime.settings import accuracy_settings, calibration_settings, open_selection
from splitd.agent.runtime.views import (
    Query,
    configured_model,
    device_view,
    executor_views,
    loaded_model,
    positive,
    whole,
)

__all__ = [
    "AgentMetrics",
    "History",
    "Improver",
    "Phase",
    "Query",
    "Routes",
    "ServerMetrics",
    "StoppedError",
    "View",
    "accuracy_settings",
    "calibration_settings",
    "configured_model",
    "device_view",
    "executor_views",
    "loaded_model",
    "open_selection",
    "positive",
    "run",
    "set_up_logging",
    "starting_routes",
    "whole",
]
