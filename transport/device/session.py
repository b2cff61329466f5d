"""A device's connection to one server: one I/O thread around `SessionCore`, and calls from any other thread."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import zmq

from splitd.errors import DeadlineError, LinkError
from splitd.ownership import confined, guarded
from splitd.transport.device.dealer import Dealer, LinkEvent
from splitd.transport.device.exchange import Exchange
from splitd.transport.device.requests import RequestEnd, RequestMeta
from splitd.transport.device.session_core import SessionCore
from splitd.transport.device.session_state import Peer, ReportedLoad, SessionStatus
from splitd.transport.estimate import LinkEstimate, LinkEstimator, Prober
from splitd.transport.wire import ClientKeys, Hello, Outgoing, SessionLimits, WakeUp

T = TypeVar("T")

_log = logging.getLogger(__name__)

# Messages handled before time-driven work and sending get their turn again.
_MAX_BATCH = 256


class Session:
    """A session with the server at `address` (`tcp://host:port`); connects, and reconnects, by itself.

    `clock` is monotonic, in seconds. `on_state` is called from the I/O thread after every change of state or error; it
    must return quickly and may call `status`. All methods may be called from any thread.
    """

    def __init__(
        self,
        address: str,
        hello: Hello,
        *,
        keys: ClientKeys | None = None,
        limits: SessionLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        estimator: LinkEstimator | None = None,
        prober: Prober | None = None,
        on_state: Callable[[SessionStatus], None] | None = None,
    ) -> None:
        self.address = address
        self.hello = hello
        self.clock = clock
        self._keys = keys
        self._limits = limits or SessionLimits()
        self._on_state = on_state
        self._changed = threading.Condition()
        learner = estimator or LinkEstimator()
        core = SessionCore(hello, self._limits, learner, prober=prober)
        self._core = guarded(core, self._changed, "session core")
        self._estimator = guarded(learner, self._changed, "link estimator")
        self._wakeup = WakeUp()
        self._closing = False
        self._told = ("", "")
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to connect; returns at once. Raises ConfigError for an address that is none."""
        dealer = Dealer(self.address, self._keys, self._limits)
        self._thread = threading.Thread(
            target=self._run, args=(confined(dealer, "session socket"),), name="splitd-session", daemon=True
        )
        self._thread.start()

    def close(self, reason: str = "the device closes") -> None:
        """Say good-bye, end all requests in LinkError and stop the thread."""
        with self._changed:
            self._closing = True
            self._core.say_bye(reason)
            self._changed.notify_all()
        self._wakeup.set()
        if self._thread is not None:
            self._thread.join()
        self._wakeup.close()

    def status(self) -> SessionStatus:
        """Return the session at a glance."""
        with self._changed:
            core = self._core
            return SessionStatus(
                state=core.state.value,
                error=core.error,
                address=self.address,
                epoch=core.epoch,
                server=core.server,
                in_flight_bytes=core.window.in_flight_bytes,
                open_requests=len(core.requests),
                counters=replace(core.counters),
            )

    def link(self) -> LinkEstimate:
        """Return the link estimate as of now."""
        return self.inspect(lambda estimator, now_s: estimator.estimate(now_s))

    def uplink_rate(self) -> float | None:
        """Return the median uplink rate in bytes/s, cheaply; None while it is unknown or the link is down."""
        return self.inspect(lambda estimator, now_s: estimator.uplink_rate(now_s))

    def inspect(self, look: Callable[[LinkEstimator, float], T]) -> T:
        """Return what `look(estimator, now_s)` returns; it runs under the session's lock and must return quickly.

        The estimator belongs to the session: `look` may read it, or copy its state, but must not keep it.
        """
        with self._changed:
            return look(self._estimator, self.clock())

    def look(self, see: Callable[[LinkEstimator, Peer], T]) -> T:
        """Return what `see(estimator, peer)` returns: everything that a decision needs, at one moment; as `inspect`."""
        with self._changed:
            core, now_s = self._core, self.clock()
            return see(self._estimator, Peer(now_s, core.epoch, core.server, self._load(now_s)))

    def reported_load(self) -> ReportedLoad | None:
        """Return the server's last report of its load; None if there is none in this session."""
        with self._changed:
            return self._load(self.clock())

    def open(self, request: RequestMeta) -> Exchange:
        """Begin a request.

        Raises LinkError unless the session is ready or suspect, OverloadError at the limit of open requests.
        """
        with self._changed:
            if self._closing:
                raise LinkError("the session is closed")
            request_id = self._core.open(request)
            return Exchange(self, request, request_id, self._core.epoch)

    # What an Exchange needs

    def send_item(self, item: Outgoing, deadline_s: float | None) -> None:
        """Queue one chunk as soon as the credits allow; raises LinkError, DeadlineError, or the request's error."""
        with self._changed:
            if not self._wait(lambda: self._sendable(item), deadline_s):
                raise DeadlineError("the link took no more bytes before the deadline")
            self._core.queue_chunk(item)
        self._wakeup.set()

    def wait_outcome(self, request_id: int, deadline_s: float | None) -> RequestEnd:
        """Wait for the end of a request; raises DeadlineError."""
        with self._changed:
            self._wait(lambda: self._core.requests.outcome(request_id) is not None, deadline_s)
            outcome = self._core.requests.outcome(request_id)
        if outcome is None:
            raise DeadlineError("no answer in time")
        return outcome

    def close_request(self, request_id: int) -> None:
        """Forget a request; the server is told if it is still at it."""
        with self._changed:
            self._core.close_request(request_id, self.clock())
        self._wakeup.set()

    # Inside

    def _load(self, now_s: float) -> ReportedLoad | None:
        load = self._core.server_load
        return None if load is None else ReportedLoad(load.queue_s, load.load, now_s - self._core.server_load_s)

    def _sendable(self, item: Outgoing) -> bool:
        outcome = self._core.requests.outcome(item.request_id)
        if isinstance(outcome, Exception):
            raise outcome
        return self._core.window.has_room(item.credit_bytes)

    def _wait(self, condition: Callable[[], bool], deadline_s: float | None) -> bool:
        """Wait for `condition` up to the deadline; return whether it holds."""
        timeout_s = None if deadline_s is None else max(0.0, deadline_s - self.clock())
        return self._changed.wait_for(condition, timeout_s)

    def _run(self, dealer: Dealer) -> None:
        try:
            while not self._closing:
                self._turn(dealer)
            with self._changed:
                self._flush(dealer)
        finally:
            with self._changed:
                self._core.on_disconnected(self.clock(), "the session is closed")
                self._changed.notify_all()
            dealer.close()

    def _turn(self, dealer: Dealer) -> None:
        """Wait for something to happen, handle it, and send what there is to send."""
        self._poll(dealer)
        self._wakeup.clear()
        reports = list(dealer.reports())  # before the messages: what came before a disconnection still counts
        self._take_messages(dealer)
        with self._changed:
            for report in reports:
                self._on_report(report.event, report.reason)
            self._core.on_tick(self.clock())
            self._flush(dealer)
            if self._core.take_reset():
                dealer.reopen()
            self._changed.notify_all()
        self._tell_state()

    def _poll(self, dealer: Dealer) -> None:
        with self._changed:
            now_s = self.clock()
            wake_s = self._core.next_wake_s(now_s)
            blocked = bool(len(self._core.outbox)) and self._core.is_connected
        poller = zmq.Poller()
        poller.register(dealer.socket, zmq.POLLIN | (zmq.POLLOUT if blocked else 0))
        poller.register(dealer.monitor, zmq.POLLIN)
        poller.register(self._wakeup, zmq.POLLIN)
        poller.poll(max(0, math.ceil((wake_s - now_s) * 1e3)))  # without the lock: callers go on meanwhile

    def _take_messages(self, dealer: Dealer) -> None:
        for _ in range(_MAX_BATCH):
            frames = dealer.receive()
            if frames is None:
                return
            now_s = self.clock()  # before anything else: the arrival time is a measurement
            with self._changed:
                self._core.on_frames(now_s, frames)
                self._changed.notify_all()

    def _on_report(self, event: LinkEvent, reason: str) -> None:
        if event is LinkEvent.CONNECTED:
            self._core.on_connected(self.clock())
        elif event is LinkEvent.KEY_REFUSED:
            self._core.on_key_refused(self.clock(), reason)
        else:
            self._core.on_disconnected(self.clock(), reason)

    def _flush(self, dealer: Dealer) -> None:
        def send(item: Outgoing) -> bool:
            if not dealer.send(item.frames):
                return False
            self._core.on_sent(self.clock(), item)
            return True

        self._core.outbox.flush(send)

    def _tell_state(self) -> None:
        status = self.status()
        news = (status.state, status.error or "")
        if news == self._told:
            return
        self._told = news
        _log.log(
            logging.INFO if status.error is None else logging.WARNING,
            "session %s is %s%s",
            self.address,
            status.state,
            f": {status.error}" if status.error else "",
        )
        if self._on_state is not None:
            self._on_state(status)
