"""Exported segments kept in the state directory: checksummed, and made anew when damaged."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import xxhash

from splitd.calibration.executors.protocols import SegmentSource

log = logging.getLogger(__name__)

FOLDER = "executors"  # under the state directory
MAGIC = b"splitd segment 1\n"
CHECKSUM_BYTES = 16
MODE = 0o644


class SegmentCache:
    """The ONNX segments of a source, exported once; without a folder, every time.

    Files that cannot be read, are damaged or cannot be written cost the time of another export, never the start.
    """

    def __init__(self, folder: Path | None, source: SegmentSource) -> None:
        self._source = source
        # The names of the cuts are part of what a segment is, and no file name.
        cuts = xxhash.xxh3_64_hexdigest("\n".join(source.description.names).encode())
        self._folder = None if folder is None else folder / f"{source.description.digest[:32]}-{cuts}"

    def onnx(self, i: int) -> bytes:
        """Return segment i, from the folder or else from the source; raises ModelError."""
        if self._folder is None or self._source.torch_chain() is None:  # a bundle is such a folder itself
            return self._source.onnx(i)
        path = self._folder / f"{i}.onnx"
        kept = read_checked(path)
        if kept is not None:
            return kept
        made = self._source.onnx(i)
        write_checked(path, made)
        return made

    def complete(self) -> bool:
        """Tell whether every segment can be had at once."""
        if self._source.torch_chain() is None:
            return True
        count = self._source.description.last
        return self._folder is not None and all((self._folder / f"{i}.onnx").is_file() for i in range(count))


def read_checked(path: Path) -> bytes | None:
    """Return what `write_checked` wrote; None if there is none, or it is damaged (logged)."""
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


def write_checked(path: Path, body: bytes) -> None:
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
