"""What a configuration says about calibration."""

from __future__ import annotations

from splitd.agent.config import AgentConfig, ServerConfig
from splitd.agent.views import calibrated_codecs
from splitd.calibration.obtain import CalibrationSettings


def calibration_settings(config: AgentConfig | ServerConfig) -> CalibrationSettings:
    """Return what is measured on this machine, as the daemon and `splitd calibrate` do it alike."""
    device = isinstance(config, AgentConfig)
    codecs = config.planner.codecs if isinstance(config, AgentConfig) else config.codecs
    return CalibrationSettings(
        role="device" if device else "server",
        batch_sizes=config.calibration.batch_sizes,
        codecs=calibrated_codecs(codecs),
        repeats=config.calibration.repeats,
        throttle=config.device.throttle,
        device=config.device.name,
    )
