"""What a session knows and counts, for status and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from splitd.transport.wire import Welcome


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What the server said in its WELCOME."""

    name: str
    version: str
    document: dict[str, Any]
    window_bytes: int
    max_request_bytes: int

    @classmethod
    def of(cls, welcome: Welcome) -> ServerInfo:
        """Return what a WELCOME says; a document without a name or version leaves them empty."""
        name, version = (str(welcome.document.get(key, "")) for key in ("name", "version"))
        return cls(name, version, welcome.document, welcome.window_bytes, welcome.max_request_bytes)


@dataclass(slots=True)
class SessionCounters:
    """What was dropped or happened so far, for status and metrics."""

    reconnects: int = 0
    stale_messages: int = 0
    late_messages: int = 0
    wire_errors: int = 0
    probes: int = 0
    failed_probes: int = 0
