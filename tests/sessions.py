"""What tests do with a session: wait for its state, and send a tensor as its own bytes."""

from __future__ import annotations

import time
from typing import Any

import numpy.typing as npt

from splitd.transport.device.exchange import Exchange
from splitd.transport.device.session import Session
from splitd.transport.device.session_state import SessionStatus
from splitd.transport.wire.raw_tensors import raw_chunks

POLL_S = 0.005


def wait_state(session: Session, *states: str, timeout_s: float) -> SessionStatus:
    """Wait until the session is in one of `states`; raises AssertionError after `timeout_s`."""
    end_s = time.monotonic() + timeout_s
    while (status := session.status()).state not in states:
        assert time.monotonic() < end_s, f"the session is {status.state} ({status.error}), not {states}"
        time.sleep(POLL_S)
    return status


def send_raw(exchange: Exchange, array: npt.NDArray[Any], tensor_index: int = 0) -> None:
    """Send a whole tensor of any dtype as its own bytes."""
    for chunk, plan, index, count in raw_chunks(array):
        exchange.send(chunk, tensor_index, plan, index, count)
