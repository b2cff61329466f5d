"""The edge server's daemon: admission of what devices send, the queue, the worker that runs tails, and its views.

Sessions, keys and credits belong to `transport.server`; running a network belongs to `calibration.chain` and, where
there are several ways to run its tail, to `backends`.
"""

from splitd.agent.server.daemon import ServerDaemon

__all__ = ["ServerDaemon"]
