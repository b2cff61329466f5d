"""The HELLO of a device: its nonce, and when to say it again or give up. Sans-IO."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable

from splitd.transport.wire import Hello, Outgoing, SessionLimits, outgoing


def random_id() -> int:
    """Return a number that no former connection has used."""
    return secrets.randbits(63) | 1


class Greeter:
    """At most one HELLO is open; only an answer with its nonce counts, so a late one for a former HELLO is nothing."""

    def __init__(self, hello: Hello, limits: SessionLimits, new_id: Callable[[], int]) -> None:
        self._hello = hello
        self._limits = limits
        self._new_id = new_id
        self._nonce = 0
        self.due_s = math.inf  # when to say HELLO again
        self.expires_s = math.inf  # when to give up waiting for the answer

    def say(self, now_s: float) -> Outgoing:
        """Return a HELLO that is sent now."""
        self._nonce = self._new_id()
        self.due_s = math.inf
        self.expires_s = now_s + self._limits.hello_timeout_s
        return outgoing(self._hello, epoch=0, request_id=self._nonce)

    def is_answer(self, nonce: int) -> bool:
        """Return whether `nonce` is that of the open HELLO, which ends with it."""
        if self._nonce == 0 or nonce != self._nonce:
            return False
        self.stop()
        return True

    def again_at(self, due_s: float) -> None:
        """Say HELLO again at `due_s`."""
        self.due_s = due_s

    def stop(self) -> None:
        """Wait for nothing and plan nothing."""
        self._nonce = 0
        self.due_s = self.expires_s = math.inf
