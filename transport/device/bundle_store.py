"""The files of networks that a device got from its server: DIGEST.splitd, and DIGEST.splitd.partial while one comes.

DIGEST is the XXH3-128 of the whole file, so a name says what has to be in it; nothing else that a server says becomes a
path. A partial file lives on over restarts. Complete ones get their names after they have reached the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import xxhash

from splitd.errors import StateError
from splitd.transport.wire import MIB, Offer

SUFFIX = ".splitd"
PARTIAL_SUFFIX = ".splitd.partial"
# The one in use, and the one before it for a server that is put back to its former network.
_KEPT = 2


class BundleStore:
    """One directory of such files, locked for as long as the context lasts.

    `between` is called after each MiB that is hashed; what it raises ends the call. All methods raise StateError, with
    the path, for what the disk or the permissions do not allow.
    """

    def __init__(self, directory: Path, between: Callable[[], None]) -> None:
        self.directory = directory
        self._between = between
        self._fd = -1

    def __enter__(self) -> BundleStore:
        with _explained(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise StateError(f"{self.directory}: another process fetches a bundle into it") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unlock the directory."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def complete(self, digest: str) -> Path | None:
        """Return the complete file with this digest, the newest from now on; None if it is missing or damaged."""
        path = self.directory / f"{digest}{SUFFIX}"
        if not path.is_file() or self.digest_of(path) != digest:
            return None
        with contextlib.suppress(OSError):  # it can be used where it can only be read
            os.utime(path)
        return path

    def newest(self) -> Path | None:
        """Return the complete file that was last fetched or offered; None if there is none that is whole."""
        found = (path for path in self._newest_first() if self.digest_of(path) == path.name.removesuffix(SUFFIX))
        return next(found, None)

    def partial(self, offer: Offer) -> PartialBundle:
        """Open what has come of an offered file so far; what has come of any other is deleted."""
        path = self.directory / f"{offer.file_digest}{PARTIAL_SUFFIX}"
        with _explained(self.directory):
            for other in self.directory.glob(f"*{PARTIAL_SUFFIX}"):
                if other != path:
                    other.unlink()
        return PartialBundle(self, path, offer)

    def digest_of(self, path: Path) -> str:
        """Return the XXH3-128 of a file."""
        digest = xxhash.xxh3_128()
        with _explained(path), path.open("rb", buffering=0) as file:
            while piece := file.read(MIB):
                digest.update(piece)
                self._between()
        return digest.hexdigest()

    def settle(self, partial: Path, complete: Path) -> None:
        """Give a file that has reached the disk its final name, for good; all but the newest few are deleted."""
        with _explained(complete):
            partial.replace(complete)
            os.fsync(self._fd)  # the name too survives a power cut
            for old in self._newest_first()[_KEPT:]:
                old.unlink()

    def _newest_first(self) -> list[Path]:
        with _explained(self.directory):
            found = [path for path in self.directory.glob(f"*{SUFFIX}") if path.is_file()]
            return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)


class PartialBundle:
    """What has come of one file: its first `n_bytes` bytes. `resumed` says that some were there before."""

    def __init__(self, store: BundleStore, path: Path, offer: Offer) -> None:
        self.path = path
        self.offer = offer
        self._store = store
        with _explained(path):
            self._file = path.open("ab", buffering=0)
            self.n_bytes = self._file.tell()
        try:
            if self.n_bytes > offer.n_bytes:
                self.restart()
            self._check_space()
        except BaseException:
            self.close()
            raise
        self.resumed = self.n_bytes > 0

    @property
    def is_whole(self) -> bool:
        """Whether as many bytes have come as were offered."""
        return self.n_bytes == self.offer.n_bytes

    def append(self, payload: bytes | bytearray | memoryview) -> None:
        """Write the bytes that come next."""
        with _explained(self.path):
            left = memoryview(payload)
            while left:  # a disk that fills up takes a part, and raises at the next
                written = self._file.write(left)
                self.n_bytes += written
                left = left[written:]

    def restart(self) -> None:
        """Throw away what has come."""
        with _explained(self.path):
            self._file.truncate(0)
        self.n_bytes, self.resumed = 0, False

    def finish(self) -> Path | None:
        """Check the digest and make the file a complete one; return None, and throw the bytes away, if it is wrong."""
        with _explained(self.path):
            os.fsync(self._file.fileno())
        # From the disk and not from what came: the first part may be of a former run, which a power cut damaged.
        if self._store.digest_of(self.path) != self.offer.file_digest:
            self.restart()
            return None
        complete = self.path.with_name(f"{self.offer.file_digest}{SUFFIX}")
        self._store.settle(self.path, complete)
        return complete

    def close(self) -> None:
        """Free the file; what has come stays."""
        self._file.close()

    def _check_space(self) -> None:
        with _explained(self.path):
            disk = os.statvfs(self.path)
        free_bytes, wanted_bytes = disk.f_bavail * disk.f_frsize, self.offer.n_bytes - self.n_bytes
        if wanted_bytes > free_bytes:
            needed, left = (f"{n_bytes / 1e6:.1f} MB" for n_bytes in (wanted_bytes, free_bytes))
            raise StateError(f"{self.path}: the bundle needs {needed} more, the disk has {left} left")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(f"{path}: {error.strerror or error}; bundles from the server are kept there") from error
