"""What a ready agent consists of: what its views show and its changes change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from splitd.agent.configuration import AgentConfig
from splitd.agent.device.intake import Intake
from splitd.agent.device.pipeline import Pipeline
from splitd.agent.device.steering import Steering
from splitd.agent.runtime import AgentMetrics, History, Phase
from splitd.calibration.chain import Engine
from splitd.calibration.measure import Obtained, Selection
from splitd.transport.device import Session


@dataclass
class AgentParts:
    """All of them exist and work.

    `path` is the configuration file and `config` what is in force of it, `obtained` the latency profile in use.
    `save_recording` copies the flight recorder's ring and returns the folder. `opened` closes what was opened, the
    pipeline first, the intake last.
    """

    path: Path
    config: AgentConfig
    phase: Phase
    history: History
    metrics: AgentMetrics
    selection: Selection
    obtained: Obtained
    session: Session
    steering: Steering
    intake: Intake
    pipeline: Pipeline
    save_recording: Callable[[], Path]
    opened: contextlib.ExitStack

    @property
    def engine(self) -> Engine:
        """What runs the network."""
        return self.selection.engine
