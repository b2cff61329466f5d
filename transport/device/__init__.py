"""A device's side of the protocol: the session with its server, requests under way, pings and probes.

`session.py` is the shell with the I/O thread; `fetch.py` gets a network for a device without one, into the files of
`bundle_store.py`; the rest is sans-IO.
"""

from splitd.transport.device.fetch import FetchedBundle, FetchLimits, FetchProgress, fetch_bundle
from splitd.transport.device.pinger import Pinger
from splitd.transport.device.requests import Reply, RequestMeta
from splitd.transport.device.session import Session
from splitd.transport.device.session_state import Peer

__all__ = [
    "FetchLimits",
    "FetchProgress",
    "FetchedBundle",
    "Peer",
    "Pinger",
    "Reply",
    "RequestMeta",
    "Session",
    "fetch_bundle",
]
