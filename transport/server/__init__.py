"""The server's side of the protocol: all its devices, their unfinished transfers, their answers.

`endpoint.py` is the shell with the I/O thread, `router.py` its socket, `bundle_offer.py` the file that it may give
away; the rest is sans-IO.
"""

from splitd.transport.server.bundle_offer import BundleOffer
from splitd.transport.server.endpoint import Endpoint
from splitd.transport.server.incoming import IncomingRequest

__all__ = ["BundleOffer", "Endpoint", "IncomingRequest"]
