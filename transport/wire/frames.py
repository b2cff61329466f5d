"""The wire format: messages to frames and back. Sans-IO; the byte layout is in docs/wire-format.md.

A message is one header frame, followed by one payload frame for the types that have one. Everything is checked before
anything is allocated; whatever is wrong raises WireError, and nothing else is ever raised.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import xxhash

from splitd.errors import WireError
from splitd.transport.wire.bodies import FORMATS, BodyFormat
from splitd.transport.wire.fields import Reader
from splitd.transport.wire.limits import MAX_HEADER_BYTES, PROTOCOL_VERSION
from splitd.transport.wire.messages import Buffer, Chunk, Message, MessageType

MAGIC = b"SPLD"

# magic, version, type, header bytes, epoch, request id, payload bytes, payload xxh3-64
_PREFIX = struct.Struct("<4sBBHIQIQ")
_CHECKSUM = struct.Struct("<I")
_MIN_HEADER_BYTES = _PREFIX.size + _CHECKSUM.size
_TYPE_OF = {body_format.message: message_type for message_type, body_format in FORMATS.items()}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A decoded message with its epoch, its request id and its size on the wire (header and payload)."""

    epoch: int
    request_id: int
    message: Message
    n_bytes: int


def encode(message: Message, *, epoch: int, request_id: int = 0) -> list[Buffer]:
    """Return the frames of a message; raises WireError for one that the peer would refuse."""
    message_type = _type_of(message)
    body_format = FORMATS[message_type]
    try:
        body, payload = body_format.pack(message)
    except (struct.error, ValueError, TypeError) as error:
        raise WireError(f"{message_type.name}: a field does not fit: {error}") from error
    if payload is not None and not isinstance(payload, bytes):
        payload = memoryview(payload).cast("B")
    header = _pack_header(message_type, epoch, request_id, body, b"" if payload is None else payload)
    _check_payload_size(body_format, message_type, 0 if payload is None else len(payload))
    return [header] if payload is None else [header, payload]


def decode(frames: Sequence[Buffer]) -> Envelope:
    """Return the message that the frames hold; raises WireError for anything that is not exactly one."""
    if not 1 <= len(frames) <= 2:
        raise WireError(f"a message of {len(frames)} frames")
    header = memoryview(frames[0])
    payload = frames[1] if len(frames) == 2 else None
    version, type_code, epoch, request_id, payload_bytes, payload_hash = _unpack_prefix(header)
    try:
        message_type = MessageType(type_code)
    except ValueError as error:
        raise WireError(f"unknown message type {type_code}") from error
    # HELLO is answered, and REFUSE understood, across versions: otherwise a mismatch could only be silence.
    if version != PROTOCOL_VERSION and message_type is not MessageType.REFUSE:
        raise WireError(f"protocol version {version}; this end speaks {PROTOCOL_VERSION}")
    body_format = FORMATS[message_type]
    if (payload is None) != (body_format.max_payload is None):
        raise WireError(f"{message_type.name} with {len(frames)} frames")
    body = b"" if payload is None else payload
    _check_payload_size(body_format, message_type, len(body))
    if payload_bytes != len(body) or payload_hash != xxhash.xxh3_64_intdigest(body):
        raise WireError(f"{message_type.name}: the payload is not the one that the header announces")
    reader = Reader(header[_PREFIX.size : len(header) - _CHECKSUM.size])
    message = body_format.unpack(reader, body)
    reader.finish()
    return Envelope(epoch, request_id, message, len(header) + len(body))


def peek_version(frames: Sequence[Buffer]) -> int | None:
    """Return the protocol version of an intact message of any version; None if it is no message of ours."""
    try:
        return _unpack_prefix(memoryview(frames[0]))[0] if frames else None
    except WireError:
        return None


def peek_request_id(frames: Sequence[Buffer]) -> int | None:
    """Return the request id of a message whose header is intact, whatever the rest says; None if it is not."""
    try:
        return _unpack_prefix(memoryview(frames[0]))[3] if frames else None
    except WireError:
        return None


def _type_of(message: Message) -> MessageType:
    if isinstance(message, Chunk):
        return MessageType.RESULT if message.is_result else MessageType.DATA
    return _TYPE_OF[type(message)]


def _pack_header(message_type: MessageType, epoch: int, request_id: int, body: bytes, payload: Buffer) -> bytes:
    size = _MIN_HEADER_BYTES + len(body)
    if size > MAX_HEADER_BYTES:
        raise WireError(f"{message_type.name}: a header of {size} bytes; at most {MAX_HEADER_BYTES} are allowed")
    try:
        prefix = _PREFIX.pack(
            MAGIC,
            PROTOCOL_VERSION,
            message_type,
            size,
            epoch,
            request_id,
            len(payload),
            xxhash.xxh3_64_intdigest(payload),
        )
    except struct.error as error:
        raise WireError(f"{message_type.name}: a field does not fit: {error}") from error
    head = prefix + body
    return head + _CHECKSUM.pack(xxhash.xxh32_intdigest(head))


def _unpack_prefix(header: memoryview) -> tuple[int, int, int, int, int, int]:
    """Check the header's length and checksum; return version, type, epoch, request id, payload bytes and hash."""
    if not _MIN_HEADER_BYTES <= len(header) <= MAX_HEADER_BYTES:
        raise WireError(f"a header of {len(header)} bytes")
    magic, version, type_code, size, epoch, request_id, payload_bytes, payload_hash = _PREFIX.unpack_from(header)
    if magic != MAGIC:
        raise WireError("not a splitd message")
    if size != len(header):
        raise WireError(f"a header of {len(header)} bytes says that it has {size}")
    (checksum,) = _CHECKSUM.unpack_from(header, len(header) - _CHECKSUM.size)
    if checksum != xxhash.xxh32_intdigest(header[: -_CHECKSUM.size]):
        raise WireError("the header's checksum is wrong")
    return version, type_code, epoch, request_id, payload_bytes, payload_hash


def _check_payload_size(body_format: BodyFormat, message_type: MessageType, size: int) -> None:
    limit = body_format.max_payload or 0
    if size > limit:
        raise WireError(f"{message_type.name}: a payload of {size} bytes; at most {limit} are allowed")
