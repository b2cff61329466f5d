"""Logging to stderr: journald's priority prefixes under systemd, times elsewhere; repeated lines are limited."""

from __future__ import annotations

import logging
import os
import sys
import time

# One line per (logger, message template) and second is kept: a link that flaps must not fill a disk.
REPEAT_INTERVAL_S = 1.0

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class JournalFormatter(logging.Formatter):
    """Prefix each line with `<priority>`, which journald strips and records (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record with the prefix on every line of it."""
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


class RepeatLimit(logging.Filter):
    """Drop a record whose template was logged less than REPEAT_INTERVAL_S ago, and say how many were dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be written."""
        key = (record.name, str(record.msg))
        now_s = time.monotonic()
        last_s, dropped = self._last.get(key, (-REPEAT_INTERVAL_S, 0))
        if now_s - last_s < REPEAT_INTERVAL_S:
            self._last[key] = (last_s, dropped + 1)
            return False
        self._last[key] = (now_s, 0)
        if dropped:
            record.msg = f"{record.msg} ({dropped} like it left out)"
        return True


def set_up_logging(level: str) -> None:
    """Send the log of the whole process to stderr at `level` (debug, info, warning, error)."""
    handler = logging.StreamHandler(sys.stderr)
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(JournalFormatter("%(name)s: %(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    handler.addFilter(RepeatLimit())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("splitd").setLevel(level.upper())
