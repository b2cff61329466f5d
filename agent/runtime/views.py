"""Parts of the status documents that both daemons share."""

from __future__ import annotations

from typing import Any

from splitd.agent.configuration import DeviceConfig, ModelConfig
from splitd.agent.runtime.engine import Network


def model_view(config: ModelConfig, network: Network | None) -> dict[str, Any]:
    """Return which model runs; what only loading tells is empty until then."""
    return {
        "name": config.name,
        "weights": config.weights,
        "image_size": network.preprocessing.size[1] if network else config.image_size,
        "digest": network.model.digest if network else "",
    }


def device_view(config: DeviceConfig, network: Network | None) -> dict[str, Any]:
    """Return what it runs on; `throttle` is null unless a slower device is emulated."""
    return {
        "name": config.name,
        "threads": network.threads if network else config.threads,
        "throttle": config.throttle if config.throttle and config.throttle < 1 else None,
    }
