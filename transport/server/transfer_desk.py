"""The unfinished requests of all devices: how many, how much memory, for how long. Sans-IO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from splitd.errors import OverloadError, WireError
from splitd.transport.estimate import Arrival
from splitd.transport.server.client_record import ClientRecord, OpenTransfer
from splitd.transport.wire import Assembly, Chunk, EndpointLimits, ErrorReply, TensorMeta

RequestKey = tuple[bytes, int, int]  # routing id, epoch, request id


@dataclass(frozen=True, slots=True)
class CompleteRequest:
    """All chunks of one request, checked against each other."""

    key: RequestKey
    client: str
    cut: int
    deadline_s: float | None
    tensors: tuple[TensorMeta, ...]
    chunks: tuple[tuple[Chunk, ...], ...]
    arrivals: tuple[Arrival, ...]


class TransferDesk:
    """Takes in the chunks of all devices, within the limits."""

    def __init__(self, clients: Mapping[bytes, ClientRecord], limits: EndpointLimits) -> None:
        self._clients = clients
        self._limits = limits

    def take(self, client: ClientRecord, request_id: int, chunk: Chunk, arrival: Arrival) -> CompleteRequest | None:
        """Take in one chunk; return the request that it completes, if it does.

        Raises OverloadError if a limit forbids it and WireError if it contradicts an earlier chunk.
        """
        transfer = self._transfer(arrival.t_s, client, request_id, chunk)
        if transfer is None:
            return None
        transfer.assembly.add(chunk, arrival)
        transfer.last_s = arrival.t_s
        self._check_memory(client)
        return self._complete(client, request_id, transfer)

    def expired(self, now_s: float, client: ClientRecord) -> list[tuple[int, ErrorReply]]:
        """Return the transfers that have to end now, each with the error to report."""
        return [
            (request_id, error)
            for request_id, transfer in client.transfers.items()
            if (error := self._verdict(now_s, transfer)) is not None
        ]

    def _verdict(self, now_s: float, transfer: OpenTransfer) -> ErrorReply | None:
        if transfer.deadline_s is not None and now_s > transfer.deadline_s:
            return ErrorReply("deadline", "the request was not complete by its deadline")
        if now_s - transfer.last_s > self._limits.transfer_idle_s:
            return ErrorReply("wire", "the transfer stopped before its last chunk")
        return None

    def _transfer(self, now_s: float, client: ClientRecord, request_id: int, chunk: Chunk) -> OpenTransfer | None:
        """Return the transfer that a chunk belongs to, a new one if need be; None if it is to be ignored."""
        if request_id in client.refused_ids:
            return None
        if request_id in client.running_bytes:
            raise WireError("more chunks for a complete request")
        transfer = client.transfers.get(request_id)
        if transfer is None:
            if client.open_requests >= self._limits.max_open_requests_per_client:
                raise OverloadError(f"{client.open_requests} requests of this device are open already")
            deadline_s = None if chunk.deadline_ms is None else now_s + chunk.deadline_ms / 1e3
            transfer = client.transfers[request_id] = OpenTransfer(Assembly(chunk), deadline_s, now_s)
        return transfer

    def _check_memory(self, client: ClientRecord) -> None:
        held_bytes = client.pending_bytes
        if held_bytes <= self._limits.max_pending_bytes // self._limits.max_clients:
            return  # its fair share, which nobody can take away; saves the sum below for almost every chunk
        if held_bytes > self._limits.max_pending_bytes_per_client:
            raise OverloadError(f"this device's requests hold {held_bytes} bytes, over the server's limit")
        if sum(other.pending_bytes for other in self._clients.values()) > self._limits.max_pending_bytes:
            raise OverloadError("the requests of all devices together are over the server's memory limit")

    def _complete(self, client: ClientRecord, request_id: int, transfer: OpenTransfer) -> CompleteRequest | None:
        assembly = transfer.assembly
        if not assembly.is_complete:
            return None
        chunks = assembly.chunks()
        del client.transfers[request_id]
        client.running_bytes[request_id] = assembly.pending_bytes
        return CompleteRequest(
            key=(client.routing_id, client.epoch, request_id),
            client=client.name,
            cut=assembly.cut,
            deadline_s=transfer.deadline_s,
            tensors=assembly.tensors,
            chunks=chunks,
            arrivals=tuple(assembly.arrivals),
        )
