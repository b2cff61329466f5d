"""Byte credits: a sender knows how much the other end has not yet taken in, and stops at a limit.

ZeroMQ alone accepted 1.2 GB for a stopped peer (docs/wire-format.md, "Credits"). Only the payloads of chunks and probes
count. Totals are cumulative over one epoch, so a lost or repeated acknowledgement does no harm.
"""

from __future__ import annotations

from splitd.errors import WireError


class SendWindow:
    """The sending half: what has been queued or sent, and what was acknowledged; all in bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._sent_bytes = 0
        self._acknowledged_bytes = 0

    @property
    def in_flight_bytes(self) -> int:
        """Sent and not acknowledged."""
        return self._sent_bytes - self._acknowledged_bytes

    def has_room(self, n_bytes: int) -> bool:
        """Return whether `n_bytes` may be sent now; one message may always be under way."""
        return self.in_flight_bytes == 0 or self.in_flight_bytes + n_bytes <= self.limit_bytes

    def add(self, n_bytes: int) -> None:
        """Count bytes that are queued for sending."""
        self._sent_bytes += n_bytes

    def take_back(self, n_bytes: int) -> None:
        """Count out bytes that were queued and will not be sent after all."""
        self._sent_bytes -= n_bytes

    def acknowledge(self, total_bytes: int) -> None:
        """Take in the peer's total; raises WireError if it exceeds what was sent. An older total is ignored."""
        if total_bytes > self._sent_bytes:
            raise WireError(f"{total_bytes} bytes acknowledged, {self._sent_bytes} were sent")
        self._acknowledged_bytes = max(self._acknowledged_bytes, total_bytes)


class Receipts:
    """The receiving half: what came, and whether it is time to say so."""

    def __init__(self, ack_every_bytes: int) -> None:
        self.total_bytes = 0
        self._ack_every_bytes = ack_every_bytes
        self._told_bytes = 0

    def add(self, n_bytes: int) -> None:
        """Count the payload of one chunk or probe."""
        self.total_bytes += n_bytes

    def is_due(self, *, at_the_end: bool) -> bool:
        """Return whether to acknowledge now: enough came, or the train has ended and something is untold."""
        untold = self.total_bytes - self._told_bytes
        return untold >= self._ack_every_bytes or (at_the_end and untold > 0)

    def tell(self) -> int:
        """Return the total to put into an acknowledgement that is sent now."""
        self._told_bytes = self.total_bytes
        return self.total_bytes
