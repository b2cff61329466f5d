"""Built segments kept in the state directory: checksummed, and made anew when damaged.

    STATE_DIR/executors/DIGEST-CUTS/onnx-TORCHVERSION/0             exported, what some executors are loaded from
    STATE_DIR/executors/DIGEST-CUTS/EXECUTOR-VERSION-HARDWARE/0     compiled

Files that cannot be read, are damaged or cannot be written cost the time of making them again, never the start.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import xxhash

log = logging.getLogger(__name__)

FOLDER = "executors"  # under the state directory
MAGIC = b"splitd segment 1\n"
CHECKSUM_BYTES = 16
MODE = 0o644
CPUINFO = Path("/proc/cpuinfo")


def cached_bytes(path: Path | None, make: Callable[[], bytes]) -> bytes:
    """Return what is kept at `path`, else what `make` makes, which is kept from then on."""
    kept = None if path is None else _read(path)
    if kept is not None:
        return kept
    made = make()
    if path is not None:
        _write(path, made)
    return made


def cpu_flags() -> str:
    """Return what instructions this processor has; empty where it does not say."""
    try:
        lines = CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))), "")


def _read(path: Path) -> bytes | None:
    """Return what `_write` wrote; None if there is none, or it is damaged (logged)."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s cannot be read (%s); it is made anew", path, error.strerror or error)
        return None
    start = len(MAGIC) + CHECKSUM_BYTES
    body = content[start:]
    if content[:start] != MAGIC + xxhash.xxh3_128_digest(body):
        log.warning("%s is damaged; it is made anew", path)
        return None
    return body


def _write(path: Path, body: bytes) -> None:
    """Write a file whole or not at all; where it cannot be written, say so and go on."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + xxhash.xxh3_128_digest(body) + body)
            os.fchmod(file.fileno(), MODE)
        Path(name).replace(path)
    except OSError as error:
        log.warning("%s cannot be written (%s); it is made again at the next start", path, error.strerror or error)
