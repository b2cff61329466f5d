"""Wakes an I/O thread out of its poll from any other thread (an eventfd: no socket per thread, no limit on callers)."""

from __future__ import annotations

import contextlib
import os


class WakeUp:
    """`set` from any thread makes `fileno` readable until `clear`."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._fd

    def set(self) -> None:
        """Wake the poller; does nothing once closed."""
        if self._fd >= 0:
            os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """Make the descriptor unreadable again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        """Free the descriptor."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
