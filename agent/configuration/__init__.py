"""/etc/splitd/*.yaml: the schema of both daemons, YAML with line numbers, and what a reload may change.

It names every fault with file, line and key. It knows which names there are to choose from (objectives, codecs) from
the registries that own them, and nothing of what is done with a value.
"""

from splitd.agent.configuration.reload import reloaded
from splitd.agent.configuration.schema import (
    AGENT_CONFIG,
    DEFAULT_CODECS,
    SERVER_CONFIG,
    AgentConfig,
    ControlConfig,
    DeviceConfig,
    IntakeConfig,
    ModelConfig,
    PlannerSection,
    PreprocessingSection,
    ServerConfig,
    config_kind,
    load_config,
)

__all__ = [
    "AGENT_CONFIG",
    "DEFAULT_CODECS",
    "SERVER_CONFIG",
    "AgentConfig",
    "ControlConfig",
    "DeviceConfig",
    "IntakeConfig",
    "ModelConfig",
    "PlannerSection",
    "PreprocessingSection",
    "ServerConfig",
    "config_kind",
    "load_config",
    "reloaded",
]
