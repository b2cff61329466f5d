"""The states of a session, the one table that says how they follow each other, and what others see of a session.

    connecting  no handshake has succeeded since the start, or the server asked for a new one
    ready       welcomed; requests may be opened
    suspect     welcomed, but silent for longer than a lost packet explains; requests may still be opened
    down        the connection or the server is lost, or never was there; reconnecting goes on by itself
    refused     the server answers and does not want us (other model, other version, key not allowed); asked again
                from time to time, because the server may be restarted with the right model

An event without a row for the present state leaves it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from splitd.transport.wire import Welcome


class SessionState(str, Enum):
    """Where a session stands; the value is what people see."""

    CONNECTING = "connecting"
    READY = "ready"
    SUSPECT = "suspect"
    DOWN = "down"
    REFUSED = "refused"


class Event(Enum):
    """What can happen to a session."""

    WELCOMED = "the server accepted our HELLO"
    REFUSED = "the server answered and refuses us"
    HEARD = "any valid message came"
    SILENT = "nothing came for suspect_after_s"
    LOST = "the connection broke, the server said BYE, or nothing came for down_after_s"
    FORGOTTEN = "the server does not know us any more and wants a HELLO"


_S, _E = SessionState, Event

TRANSITIONS: dict[tuple[SessionState, Event], SessionState] = {
    (_S.CONNECTING, _E.WELCOMED): _S.READY,
    (_S.CONNECTING, _E.REFUSED): _S.REFUSED,
    (_S.CONNECTING, _E.LOST): _S.DOWN,
    (_S.READY, _E.SILENT): _S.SUSPECT,
    (_S.READY, _E.LOST): _S.DOWN,
    (_S.READY, _E.REFUSED): _S.REFUSED,
    (_S.READY, _E.FORGOTTEN): _S.CONNECTING,
    (_S.SUSPECT, _E.HEARD): _S.READY,
    (_S.SUSPECT, _E.LOST): _S.DOWN,
    (_S.SUSPECT, _E.REFUSED): _S.REFUSED,
    (_S.SUSPECT, _E.FORGOTTEN): _S.CONNECTING,
    (_S.DOWN, _E.WELCOMED): _S.READY,
    (_S.DOWN, _E.REFUSED): _S.REFUSED,
    (_S.REFUSED, _E.WELCOMED): _S.READY,
    (_S.REFUSED, _E.LOST): _S.DOWN,
}

# In these the server has accepted us and an epoch is valid.
WELCOMED_STATES = frozenset({SessionState.READY, SessionState.SUSPECT})


def follow(state: SessionState, event: Event) -> SessionState:
    """Return the state after `event`."""
    return TRANSITIONS.get((state, event), state)


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


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A session at a glance; `state` is one of connecting, ready, suspect, down, refused."""

    state: str
    error: str | None
    address: str
    epoch: int
    server: ServerInfo | None
    in_flight_bytes: int
    open_requests: int
    counters: SessionCounters

    @property
    def reconnects(self) -> int:
        """How often the session was welcomed again."""
        return self.counters.reconnects


@dataclass(frozen=True, slots=True)
class ReportedLoad:
    """The server's own last word about its load: seconds a request would wait, share busy, and how old that word is."""

    queue_s: float
    load: float
    age_s: float


class Peer(NamedTuple):
    """What is known of the server at `now_s`, on the session's clock; `epoch` is another one after each welcome."""

    now_s: float
    epoch: int
    server: ServerInfo | None
    load: ReportedLoad | None
