"""The primitive fields of a header: bounded reads and writes of little-endian numbers, texts and digests."""

from __future__ import annotations

import math
import struct

from splitd.errors import WireError
from splitd.transport.wire.limits import MAX_TEXT_BYTES

DIGEST_BYTES = 16


class Reader:
    """Reads one header from front to back; anything that does not fit raises WireError and never reads outside."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def take(self, layout: struct.Struct) -> tuple[int | float, ...]:
        """Return the fields of `layout`; every number is finite."""
        values: tuple[int | float, ...] = layout.unpack(self._slice(layout.size))
        if not all(map(math.isfinite, values)):
            raise WireError("a number in the header is not finite")
        return values

    def ints(self, layout: struct.Struct) -> tuple[int, ...]:
        """Return the fields of a layout of whole numbers."""
        values: tuple[int, ...] = layout.unpack(self._slice(layout.size))
        return values

    def digest(self) -> str:
        """Return 16 bytes as 32 hex digits."""
        return self._slice(DIGEST_BYTES).hex()

    def text(self, limit: int = MAX_TEXT_BYTES) -> str:
        """Return a text of at most `limit` bytes of UTF-8."""
        (size,) = self.ints(_U16)
        if size > limit:
            raise WireError(f"a text of {size} bytes; at most {limit} are allowed")
        try:
            return str(self._slice(size), "utf-8")
        except UnicodeDecodeError as error:
            raise WireError("a text is not UTF-8") from error

    def finish(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._data):
            raise WireError(f"{len(self._data) - self._at} bytes after the last header field")

    def _slice(self, size: int) -> memoryview:
        end = self._at + size
        if end > len(self._data):
            raise WireError("the header is shorter than its fields")
        part = self._data[self._at : end]
        self._at = end
        return part


_U16 = struct.Struct("<H")


def pack_text(text: str, limit: int = MAX_TEXT_BYTES) -> bytes:
    """Return the text as length and UTF-8, cut at `limit` bytes (never inside a character)."""
    raw = text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").encode()
    return _U16.pack(len(raw)) + raw


def pack_digest(digest: str) -> bytes:
    """Return 32 hex digits as 16 bytes; raises WireError if they are not."""
    try:
        raw = bytes.fromhex(digest)
    except ValueError as error:
        raise WireError(f"digest {digest!r} is not hexadecimal") from error
    if len(raw) != DIGEST_BYTES:
        raise WireError(f"digest {digest!r} has {len(raw)} bytes instead of {DIGEST_BYTES}")
    return raw
