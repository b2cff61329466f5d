"""The cost model: how long one batch takes when it is split at a cut. The only place where its terms are added up.

    T = head·k_dev + encode·k_dev + rtt + transfer + queue + (decode + tail)·k_srv + return

Every number may be one candidate's or a column of many (numpy broadcasts): the planner decides with columns, its
explanation looks at one row of them, the study fills a grid of states, and the replay's truth is the same sum with what
device, link and server really did. Seconds of a transfer come in, since only a link model knows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Seconds = TypeVar("Seconds", float, Floats, float | Floats)


@dataclass(frozen=True, slots=True)
class Work(Generic[Seconds]):
    """What device and server compute for one batch, in seconds as calibrated."""

    head_s: Seconds
    encode_s: Seconds
    decode_s: Seconds
    tail_s: Seconds

    @property
    def device_s(self) -> Seconds:
        """What the device's processor is busy for."""
        return self.head_s + self.encode_s

    @property
    def server_s(self) -> Seconds:
        """What the server's processor is busy for."""
        return self.decode_s + self.tail_s


@dataclass(frozen=True, slots=True)
class Terms(Generic[Seconds]):
    """The seconds of one batch, term by term in the order in which they pass."""

    head_s: Seconds
    encode_s: Seconds
    rtt_s: Seconds
    transfer_s: Seconds
    queue_s: Seconds
    decode_s: Seconds
    tail_s: Seconds
    return_s: Seconds

    @property
    def device_s(self) -> Seconds:
        """What the device's processor is busy for."""
        return self.head_s + self.encode_s

    @property
    def server_s(self) -> Seconds:
        """What the server's processor is busy for."""
        return self.decode_s + self.tail_s

    @property
    def total_s(self) -> Seconds:
        """The end-to-end time."""
        return self.device_s + self.transfer_s + self.server_s + self.return_s + (self.rtt_s + self.queue_s)


def end_to_end(
    work: Work[Seconds],
    *,
    transfer_s: Seconds,
    return_s: Seconds,
    rtt_s: Seconds,
    queue_s: Seconds,
    k_dev: Seconds | float = 1.0,
    k_srv: Seconds | float = 1.0,
) -> Terms[Seconds]:
    """Return the terms of the cost model.

    Args:
        work: What both ends compute, as calibrated.
        transfer_s: What crossing takes beyond the round trip; 0 where nothing crosses.
        return_s: The same for the result.
        rtt_s: One round trip; 0 where nothing crosses.
        queue_s: How long the server lets the batch wait; 0 where nothing crosses.
        k_dev: How many times longer the device takes now than when it was calibrated.
        k_srv: The same for the server.
    """
    return Terms(
        head_s=work.head_s * k_dev,
        encode_s=work.encode_s * k_dev,
        rtt_s=rtt_s,
        transfer_s=transfer_s,
        queue_s=queue_s,
        decode_s=work.decode_s * k_srv,
        tail_s=work.tail_s * k_srv,
        return_s=return_s,
    )
