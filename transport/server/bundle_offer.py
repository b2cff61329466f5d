"""The file that a server gives to devices which have no network yet."""

from __future__ import annotations

import os
from pathlib import Path

import xxhash

from splitd.errors import ConfigError, StateError
from splitd.transport.wire import MAX_FILE_BYTES, MAX_NAME_BYTES, MIB, Offer


class BundleOffer:
    """A file, open for as long as it is offered: replacing it under its name changes nothing for who is fetching it.

    Its bytes are read and never interpreted. `offer` is what devices are told.
    """

    def __init__(self, path: Path, *, model_digest: str, name: str) -> None:
        """Open and hash the file; `name` is shown to people, shortened to what fits into the message.

        Raises ConfigError if the file cannot be read, is empty, or larger than the wire format allows.
        """
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError([f"model.bundle: cannot read {path}: {error.strerror}"]) from error
        try:
            self.offer = self._examine(model_digest, name)
        except BaseException:
            self.close()
            raise

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Return exactly those bytes; raises StateError if the disk, or a file that has been cut short, gives fewer."""
        try:
            payload = os.pread(self._fd, n_bytes, offset)
        except OSError as error:
            raise StateError(f"{self.path}: cannot be read any more: {error.strerror}") from error
        if len(payload) != n_bytes:
            raise StateError(f"{self.path}: is shorter than it was at the start")
        return payload

    def close(self) -> None:
        """Free the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _examine(self, model_digest: str, name: str) -> Offer:
        digest, n_bytes = xxhash.xxh3_128(), 0
        try:
            while piece := os.pread(self._fd, MIB, n_bytes):
                digest.update(piece)
                n_bytes += len(piece)
        except OSError as error:
            raise ConfigError([f"model.bundle: cannot read {self.path}: {error.strerror}"]) from error
        if not 1 <= n_bytes <= MAX_FILE_BYTES:
            raise ConfigError([f"model.bundle: {self.path} has {n_bytes} bytes; 1 to {MAX_FILE_BYTES} are allowed"])
        shown = "".join(character for character in name if character.isprintable())
        shown = shown.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore")
        return Offer(digest.hexdigest(), model_digest, n_bytes, shown)
