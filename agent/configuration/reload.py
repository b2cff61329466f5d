"""What SIGHUP changes at once, and what has to wait for a restart."""

from __future__ import annotations

import logging
from typing import TypeVar

from splitd.agent.configuration.schema import AgentConfig, ServerConfig

ConfigT = TypeVar("ConfigT", AgentConfig, ServerConfig)


def reloaded(old: ConfigT, new: ConfigT, *, live: tuple[str, ...]) -> tuple[str, ConfigT]:
    """Merge a new configuration into the running one.

    Args:
        old: The running configuration.
        new: The file as it is now.
        live: Top-level keys that may change while the daemon runs.

    Returns:
        What was done, in words, and the configuration that is in force now.
    """
    changed = [key for key in type(new).model_fields if getattr(old, key) != getattr(new, key)]
    now = [key for key in changed if key in live]
    later = [key for key in changed if key not in live]
    merged = old.model_copy(update={key: getattr(new, key) for key in now})
    if "log_level" in now:
        logging.getLogger("splitd").setLevel(merged.log_level.upper())
    if not changed:
        return "configuration read again; nothing has changed", merged
    parts = [f"now in force: {', '.join(now)}"] if now else []
    if later:
        parts.append(f"needs a restart: {', '.join(later)}")
    return f"configuration read again; {'; '.join(parts)}", merged
