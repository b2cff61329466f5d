"""A device gets the file with its network from its server: one call around `FetchCore`, in the caller's thread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zmq

from splitd.errors import LinkError, OverloadError, PeerError
from splitd.transport.device.bundle_store import BundleStore, PartialBundle
from splitd.transport.device.dealer import Dealer, LinkEvent
from splitd.transport.device.fetch_core import FetchCore
from splitd.transport.wire import ClientKeys, FilePart, Hello, Offer, Outgoing, SessionLimits

# How long a call may be deaf to its caller, who says through `progress` that it is to end.
_TICK_S = 0.1
# For BYE to leave: without it the server would keep the device's place for another half minute.
_LINGER_S = 0.1
_MAX_BATCH = 64  # messages before what they brought is acknowledged and told


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What a device takes from a server, and how long it waits for one; times in seconds, sizes in bytes."""

    max_bytes: int = 2 << 30  # a server must not fill the disk; the largest networks of interest have 1.3 GB
    # With a complete file at hand: a server that is there offers in a few round trips; a lost SYN leaves again in 1 s.
    away_after_s: float = 3.0
    lost_after_s: float = 30.0  # the same, once it has offered another file: long enough for a server to restart


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far a fetch has come; `total_bytes` is None before the first offer. `trouble` says why nothing comes."""

    name: str
    received_bytes: int
    total_bytes: int | None
    trouble: str | None


@dataclass(frozen=True, slots=True)
class FetchedBundle:
    """A complete file with the right digest. `trouble` is None if the server offers it, else why that is not known."""

    path: Path
    is_new: bool
    trouble: str | None


def fetch_bundle(
    address: str,
    hello: Hello,
    *,
    into: Path,
    progress: Callable[[FetchProgress], None],
    keys: ClientKeys | None = None,
    limits: FetchLimits | None = None,
    session_limits: SessionLimits | None = None,
) -> FetchedBundle:
    """Return the file that the server at `address` offers, from the directory `into` if it is there, else fetched.

    Fetching waits for the server as long as it takes, and goes on where it, or a call before it, was interrupted. If a
    complete file is at hand and the server is away, or has none to offer, the newest is returned. `progress` is called
    at least ten times a second; what it raises ends the call. `hello` is a newcomer's. Nothing looks into the bytes.

    Raises:
        ConfigError: The address is none.
        LinkError: The server refuses, for instance because it was not started from a file.
        OverloadError: The file is larger than `limits` allow.
        PeerError: The server breaks the protocol, sends another file than it offered, or cannot read it.
        StateError: The disk is full, or the directory cannot be used; the message begins with the path.
    """
    fetch = _Fetch(address, hello, into, progress, limits or FetchLimits(), session_limits or SessionLimits())
    with fetch.store:
        try:
            return fetch.run(keys)
        except (LinkError, OverloadError, PeerError) as error:
            held = fetch.store.newest()
            if held is None:
                raise
            return FetchedBundle(held, is_new=False, trouble=str(error))


class _Fetch:
    """The state of one call."""

    def __init__(  # noqa: PLR0917 - called in one place, above
        self,
        address: str,
        hello: Hello,
        into: Path,
        progress: Callable[[FetchProgress], None],
        limits: FetchLimits,
        session_limits: SessionLimits,
    ) -> None:
        self.store = BundleStore(into, self.tell)
        self._address = address
        self._progress = progress
        self._limits = limits
        self._session_limits = session_limits
        self._core = FetchCore(address, hello, session_limits)
        self._partial: PartialBundle | None = None
        self._is_connected = False
        self._began_s = time.monotonic()
        self._may_use_held = True  # until there turns out to be none
        self._found: FetchedBundle | None = None

    def run(self, keys: ClientKeys | None) -> FetchedBundle:
        """Return what was found in the end."""
        dealer = Dealer(self._address, keys, self._session_limits)
        try:
            while self._found is None:
                self._turn(dealer)
            self._core.say_bye("the device has its network")
            self._flush(dealer)
            return self._found
        finally:
            dealer.close(_LINGER_S)
            self._drop_partial()

    def tell(self) -> None:
        """Tell the caller how far it is; raises what the caller raises."""
        partial, trouble = self._partial, self._core.trouble
        name, received_bytes, total_bytes = "", 0, None
        if partial is not None:
            name, received_bytes, total_bytes = partial.offer.name, partial.n_bytes, partial.offer.n_bytes
        self._progress(FetchProgress(name, received_bytes, total_bytes, trouble))

    def _turn(self, dealer: Dealer) -> None:
        """Wait for something to happen, handle it, and send what there is to send."""
        self._poll(dealer)
        for report in list(dealer.reports()):
            self._is_connected = report.event is LinkEvent.CONNECTED
            if self._is_connected:
                self._core.on_connected(time.monotonic())
            else:
                self._core.on_disconnected(report.reason)
        self._take_messages(dealer)
        self._core.on_tick(time.monotonic())
        self._flush(dealer)
        if self._core.take_reset():
            self._is_connected = False
            dealer.reopen()
        self.tell()
        if self._found is None and self._may_use_held and self._is_away():
            self._use_held()

    def _poll(self, dealer: Dealer) -> None:
        is_blocked = bool(len(self._core.outbox)) and self._is_connected
        poller = zmq.Poller()
        poller.register(dealer.socket, zmq.POLLIN | (zmq.POLLOUT if is_blocked else 0))
        poller.register(dealer.monitor, zmq.POLLIN)
        wait_s = min(_TICK_S, self._core.next_wake_s() - time.monotonic())
        poller.poll(max(0, math.ceil(wait_s * 1e3)))

    def _take_messages(self, dealer: Dealer) -> None:
        for _ in range(_MAX_BATCH):
            if self._found is not None or (frames := dealer.receive()) is None:
                return
            event = self._core.on_frames(time.monotonic(), frames)
            if isinstance(event, Offer):
                self._on_offer(event)
            elif isinstance(event, FilePart) and self._partial is not None:
                self._partial.append(event.payload)
                self._go_on(self._partial)

    def _on_offer(self, offer: Offer) -> None:
        if offer.n_bytes > self._limits.max_bytes:
            raise OverloadError(
                f"the bundle of {self._address} has {offer.n_bytes / 1e6:.0f} MB, this device takes at most "
                f"{self._limits.max_bytes / 1e6:.0f} MB: raise link.max_bundle_mb"
            )
        held = self.store.complete(offer.file_digest)
        if held is not None:
            self._found = FetchedBundle(held, is_new=False, trouble=None)
            return
        self._drop_partial()
        self._partial = self.store.partial(offer)
        if self._partial.is_whole:  # interrupted between the last byte and its new name
            self._go_on(self._partial)
        else:
            self._core.ask(self._partial.n_bytes)

    def _go_on(self, partial: PartialBundle) -> None:
        """End the fetch if the file is whole, and right; begin anew if its first part, of a former run, was damaged."""
        if not partial.is_whole:
            return
        was_resumed = partial.resumed
        path = partial.finish()
        if path is not None:
            self._found = FetchedBundle(path, is_new=True, trouble=None)
        elif was_resumed:
            self._core.greet(time.monotonic())  # in this epoch the server gives no more than the file's size
        else:
            raise PeerError(f"{self._address} sent another file than it offered: the digest of {partial.path} differs")

    def _is_away(self) -> bool:
        """Return whether waiting longer is in vain while a complete file is at hand."""
        if self._partial is not None:
            return time.monotonic() - self._core.heard_s > self._limits.lost_after_s
        return self._core.trouble is not None or time.monotonic() - self._began_s > self._limits.away_after_s

    def _use_held(self) -> None:
        held = self.store.newest()
        if held is None:
            self._may_use_held = False  # nothing else puts one there while the directory is locked
            return
        trouble = self._core.trouble or f"{self._address} does not answer"
        self._found = FetchedBundle(held, is_new=False, trouble=trouble)

    def _flush(self, dealer: Dealer) -> None:
        def send(item: Outgoing) -> bool:
            return dealer.send(item.frames)

        self._core.outbox.flush(send)

    def _drop_partial(self) -> None:
        if self._partial is not None:
            self._partial.close()
            self._partial = None
