"""The server's side of the protocol: all its devices, their unfinished transfers, their answers.

`endpoint.py` is the shell with the I/O thread, `router.py` its socket; the rest is sans-IO.
"""

from splitd.transport.server.endpoint import Endpoint
from splitd.transport.server.incoming import IncomingRequest

__all__ = ["Endpoint", "IncomingRequest"]
