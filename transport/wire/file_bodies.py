"""The bodies of the messages with which a device gets its network from the server."""

from __future__ import annotations

import struct

from splitd.errors import WireError
from splitd.transport.wire.fields import Reader, pack_digest, pack_text
from splitd.transport.wire.limits import MAX_FILE_BYTES, MAX_NAME_BYTES
from splitd.transport.wire.messages import Buffer, FilePart, GetFile, Offer

_U64 = struct.Struct("<Q")
_RANGE = struct.Struct("<QQ")


def pack_offer(offer: Offer) -> tuple[bytes, None]:
    """Return the body of an OFFER."""
    _check_offer(offer)
    digests = pack_digest(offer.file_digest) + pack_digest(offer.model_digest)
    return digests + _U64.pack(offer.n_bytes) + pack_text(offer.name, MAX_NAME_BYTES), None


def unpack_offer(reader: Reader, _payload: Buffer) -> Offer:
    """Read an OFFER: a file of at least one byte, a name that can be shown."""
    file_digest, model_digest = reader.digest(), reader.digest()
    (n_bytes,) = reader.ints(_U64)
    offer = Offer(file_digest, model_digest, n_bytes, reader.text(MAX_NAME_BYTES))
    _check_offer(offer)
    return offer


def pack_get_file(get: GetFile) -> tuple[bytes, None]:
    """Return the body of a GET_FILE."""
    _check_range(get.offset, get.n_bytes)
    return pack_digest(get.file_digest) + _RANGE.pack(get.offset, get.n_bytes), None


def unpack_get_file(reader: Reader, _payload: Buffer) -> GetFile:
    """Read a GET_FILE: a range that is not empty and lies in a file of the largest size."""
    file_digest = reader.digest()
    offset, n_bytes = reader.ints(_RANGE)
    _check_range(offset, n_bytes)
    return GetFile(file_digest, offset, n_bytes)


def pack_file_part(part: FilePart) -> tuple[bytes, Buffer]:
    """Return body and payload of a FILE_PART."""
    _check_range(part.offset, len(part.payload))
    return _U64.pack(part.offset), part.payload


def unpack_file_part(reader: Reader, payload: Buffer) -> FilePart:
    """Read a FILE_PART, which is not empty."""
    (offset,) = reader.ints(_U64)
    _check_range(offset, len(payload))
    return FilePart(offset, payload)


def _check_offer(offer: Offer) -> None:
    _check_range(0, offer.n_bytes)
    # It is shown in terminals and told to the service manager, where a line end would begin another message.
    if not offer.name.isprintable():
        raise WireError(f"a file's name with characters that cannot be printed: {offer.name!r}")


def _check_range(offset: int, n_bytes: int) -> None:
    if offset < 0 or n_bytes < 1 or offset + n_bytes > MAX_FILE_BYTES:
        raise WireError(f"{n_bytes} bytes of a file, from {offset} on; 1 to {MAX_FILE_BYTES} are allowed")
