"""Who is let in, and with what: compares a device's HELLO with what this server runs and offers. Sans-IO."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Protocol

from splitd.errors import WireError
from splitd.transport.server.client_record import ClientRecord
from splitd.transport.wire import (
    MAX_TENSOR_BYTES,
    EndpointLimits,
    Hello,
    Offer,
    Receipts,
    Refuse,
    SendWindow,
    Welcome,
    is_newcomer,
    outgoing,
    refusal,
)

_NO_BUNDLE = Refuse(
    "no-bundle",
    "this server has no bundle to give away: start it with `model.bundle: FILE`, or name a model on the device",
)


def random_epoch() -> int:
    """Return a number that no former connection of this server is likely to have had."""
    return secrets.randbits(32) | 1


class House(Protocol):
    """What the reception needs of the core."""

    clients: dict[bytes, ClientRecord]

    def forget(self, routing_id: bytes) -> None:
        """Free all that is kept for a device that has gone."""


class Reception:
    """Answers HELLO, within the limit of devices."""

    def __init__(
        self,
        house: House,
        *,
        model_digest: str,
        cut_names_hash: str,
        offer: Offer | None,
        limits: EndpointLimits,
        welcome: Callable[[], dict[str, Any]],
        new_epoch: Callable[[], int],
    ) -> None:
        self._house = house
        self._model_digest = model_digest
        self._cut_names_hash = cut_names_hash
        self._offer = offer
        self._limits = limits
        self._welcome = welcome
        self._new_epoch = new_epoch

    def receive(self, now_s: float, routing_id: bytes, nonce: int, hello: Hello) -> ClientRecord | Refuse:
        """Return the record of a new device, its answer in the outbox, or why it is not let in."""
        refuse = self._refusal(hello)
        if refuse is None and not self._make_room(now_s):
            refuse = Refuse(
                "overload", f"the server has {len(self._house.clients)} devices already, its configured limit"
            )
        return refuse or self._admit(now_s, routing_id, nonce, hello)

    def _refusal(self, hello: Hello) -> Refuse | None:
        if is_newcomer(hello):
            return _NO_BUNDLE if self._offer is None else None
        return refusal(hello, model_digest=self._model_digest, cut_names_hash=self._cut_names_hash)

    def _make_room(self, now_s: float) -> bool:
        """Return whether one more device may come; at the limit one that has gone without a word makes room."""
        clients = self._house.clients
        if len(clients) < self._limits.max_clients:
            return True
        # A device that lost its connection comes back over another one, before the old one is known to be dead: without
        # this it would be refused for up to client_idle_s wherever the limit is reached.
        oldest = min(clients.values(), key=lambda client: client.heard_s)
        if now_s - oldest.heard_s <= self._limits.client_silent_s:
            return False
        self._house.forget(oldest.routing_id)
        return True

    def _admit(self, now_s: float, routing_id: bytes, nonce: int, hello: Hello) -> ClientRecord | Refuse:
        limits, newcomer = self._limits, is_newcomer(hello)
        client = ClientRecord(
            routing_id=routing_id,
            name=hello.name,
            version=hello.version,
            epoch=self._new_epoch(),
            heard_s=now_s,
            window=SendWindow(limits.file_window_bytes if newcomer else limits.window_bytes),
            receipts=Receipts(limits.ack_every_bytes),
            is_newcomer=newcomer,
        )
        answer = self._offer if newcomer and self._offer else self._own_welcome()
        try:
            client.outbox.put_control(outgoing(answer, epoch=client.epoch, request_id=nonce))
        except WireError as error:  # our own profile does not fit: say so instead of stopping for everyone
            return Refuse("internal", f"the server cannot welcome anyone: {error}")
        return client

    def _own_welcome(self) -> Welcome:
        max_request_bytes = min(self._limits.max_pending_bytes_per_client, MAX_TENSOR_BYTES)
        return Welcome(self._limits.window_bytes, max_request_bytes, self._welcome())
