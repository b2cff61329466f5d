"""Who of the devices without a network has asked for which bytes of the server's file. Sans-IO.

Nothing of the file is kept here: the shell reads a part when the device's credits allow it, so that a slow device costs
the server no more memory than its window.
"""

from __future__ import annotations

from dataclasses import dataclass

from splitd.errors import WireError
from splitd.transport.server.client_record import ClientRecord, OpenFile
from splitd.transport.wire import (
    FILE_PART_BYTES,
    Ack,
    EndpointLimits,
    ErrorReply,
    FilePart,
    GetFile,
    Offer,
    Outgoing,
    outgoing,
)


@dataclass(frozen=True, slots=True)
class DuePart:
    """Bytes of the file that may be sent now, under the id of the GET_FILE that asked for them."""

    request_id: int
    offset: int
    n_bytes: int


class FileDesk:
    """Offers one file, or none, and knows what each device may be sent of it next."""

    def __init__(self, offer: Offer | None, limits: EndpointLimits) -> None:
        self._offer = offer
        self._limits = limits

    def take(self, now_s: float, client: ClientRecord, request_id: int, get: GetFile) -> None:
        """Note what a device wants; raises WireError for another file, for bytes outside it, and for too much."""
        offer = self._offer
        if offer is None or get.file_digest != offer.file_digest:
            raise WireError(f"file {get.file_digest} is not the one that this server offers")
        if get.offset + get.n_bytes > offer.n_bytes:
            raise WireError(f"bytes {get.offset} to {get.offset + get.n_bytes} of a file of {offer.n_bytes}")
        if client.file is not None:
            raise WireError("a second GET_FILE before the end of the first")
        # Whoever resumes asks once, for the rest. More than the whole file in one epoch is a waste of the link.
        if client.file_bytes + get.n_bytes > offer.n_bytes:
            raise WireError(f"more than the whole file of {offer.n_bytes} bytes is wanted")
        client.file_bytes += get.n_bytes
        client.file = OpenFile(request_id, get.offset, get.offset + get.n_bytes, now_s)

    def due(self, client: ClientRecord) -> DuePart | None:
        """Return what may be sent to a device now; None if nothing is wanted, or its credits are used up."""
        wanted = client.file
        if wanted is None or wanted.next_offset == wanted.end:
            return None
        n_bytes = min(FILE_PART_BYTES, wanted.end - wanted.next_offset)
        return DuePart(wanted.request_id, wanted.next_offset, n_bytes) if client.window.has_room(n_bytes) else None

    def part(self, client: ClientRecord, due: DuePart, payload: bytes) -> Outgoing:
        """Return the message with the bytes that were due."""
        return outgoing(FilePart(due.offset, payload), epoch=client.epoch, request_id=due.request_id)

    def on_sent(self, client: ClientRecord, part: DuePart) -> None:
        """Note that the socket took a part."""
        client.window.add(part.n_bytes)
        if client.file is not None:
            client.file.next_offset += part.n_bytes

    def on_ack(self, now_s: float, client: ClientRecord, ack: Ack) -> None:
        """Take in an acknowledgement; raises WireError if it exceeds what was sent."""
        before = client.window.in_flight_bytes
        client.window.acknowledge(ack.received_bytes)
        if client.file is None or client.window.in_flight_bytes == before:
            return  # one that says nothing new does not keep a download alive
        client.file.last_s = now_s
        if client.file.next_offset == client.file.end and client.window.in_flight_bytes == 0:
            client.file = None

    def give_up(self, client: ClientRecord, error: ErrorReply) -> None:
        """Tell a device that the rest of the file cannot be had any more."""
        if client.file is not None:
            client.outbox.put_control(outgoing(error, epoch=client.epoch, request_id=client.file.request_id))
            client.file = None

    def is_stuck(self, now_s: float, client: ClientRecord) -> bool:
        """Return whether a device has taken nothing of what it wanted for as long as a silent one is kept."""
        return client.file is not None and now_s - client.file.last_s > self._limits.client_idle_s
