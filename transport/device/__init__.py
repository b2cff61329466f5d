"""A device's side of the protocol: the session with its server, requests under way, pings and probes.

`session.py` is the shell with the I/O thread; the rest is sans-IO.
"""

from splitd.transport.device.pinger import Pinger
from splitd.transport.device.requests import Reply, RequestMeta
from splitd.transport.device.session import Session

__all__ = ["Pinger", "Reply", "RequestMeta", "Session"]
