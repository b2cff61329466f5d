"""Where a server's tails run: a registry of backends, and the one that runs them in the server's own process.

A backend is handed what crossed the link, decoded and checked, and gives the network's outputs. It knows nothing of
devices, queues or the wire, and importing this room loads no network: configurations are checked against its names.
"""

from splitd.agent.backends.registry import BACKENDS, LocalBackend, ServerBackend, Tail

__all__ = ["BACKENDS", "LocalBackend", "ServerBackend", "Tail"]
