"""What applications and people on this machine use to reach the daemons.

The client library with its local protocol, the Unix socket files, the control socket's client, and SI numbers for
people. It needs numpy and pyzmq; it knows nothing of networks, links or decisions and never imports torch.
"""

from splitd.agent.client.client import Client, Result
from splitd.agent.client.control import DEFAULT_SOCKET, ControlClient
from splitd.agent.client.protocol import (
    Answer,
    Item,
    Kind,
    Request,
    Source,
    decode_request,
    encode_answer,
    encode_error,
    request_id_of,
)
from splitd.agent.client.units import duration, ms, rate, size

__all__ = [
    "DEFAULT_SOCKET",
    "Answer",
    "Client",
    "ControlClient",
    "Item",
    "Kind",
    "Request",
    "Result",
    "Source",
    "decode_request",
    "duration",
    "encode_answer",
    "encode_error",
    "ms",
    "rate",
    "request_id_of",
    "size",
]
