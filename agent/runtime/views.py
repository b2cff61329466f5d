"""Parts of the status documents that both daemons share."""

from __future__ import annotations

from typing import Any

from splitd.agent.configuration import DeviceConfig, ModelConfig
from splitd.calibration.chain import Engine


def model_view(config: ModelConfig, engine: Engine | None) -> dict[str, Any]:
    """Return which model runs; what only loading tells is empty until then."""
    return {
        "name": config.name,
        "weights": config.weights,
        "image_size": engine.preprocessing.size[1] if engine else config.image_size,
        "digest": engine.model.digest if engine else "",
    }


def device_view(config: DeviceConfig, engine: Engine | None) -> dict[str, Any]:
    """Return what it runs on; `throttle` is null unless a slower device is emulated."""
    return {
        "name": config.name,
        "threads": engine.threads if engine else config.threads,
        "throttle": config.throttle if config.throttle and config.throttle < 1 else None,
    }
