"""The bodies of all messages but chunks and files: one pack and one unpack function per type, joined in one table."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitd.errors import WireError
from splitd.transport.wire.chunk_body import pack_chunk, unpack_chunk
from splitd.transport.wire.fields import Reader, pack_digest, pack_text
from splitd.transport.wire.file_bodies import (
    pack_file_part,
    pack_get_file,
    pack_offer,
    unpack_file_part,
    unpack_get_file,
    unpack_offer,
)
from splitd.transport.wire.limits import MAX_ARRIVALS, MAX_CHUNK_BYTES, MAX_NAME_BYTES, MAX_WELCOME_BYTES
from splitd.transport.wire.messages import (
    Ack,
    ArrivalTimes,
    Buffer,
    Bye,
    Cancel,
    Chunk,
    ErrorReply,
    FilePart,
    GetFile,
    Hello,
    Message,
    MessageType,
    Offer,
    Ping,
    Pong,
    Probe,
    ProbeReport,
    Refuse,
    Report,
    ServerLoad,
    ServerTimings,
    Welcome,
)

Body = tuple[bytes, Buffer | None]

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_TWO_U32 = struct.Struct("<II")
_WINDOW = struct.Struct("<QQ")
_PONG = struct.Struct("<dd")
_REPORT = struct.Struct("<ddddd")
_HELD = struct.Struct("<d")
_ARRIVAL = np.dtype([("offset_ns", "<u8"), ("n_bytes", "<u4")])


@dataclass(frozen=True, slots=True)
class BodyFormat:
    """How one message type is written and read; `max_payload` is None for a type without a payload frame."""

    message: type[Message]
    pack: Callable[[Any], Body]
    unpack: Callable[[Reader, Buffer], Message]
    max_payload: int | None = None


def _pack_hello(hello: Hello) -> Body:
    body = pack_digest(hello.model_digest) + pack_digest(hello.cut_names_hash)
    return body + pack_text(hello.version, MAX_NAME_BYTES) + pack_text(hello.name, MAX_NAME_BYTES), None


def _unpack_hello(reader: Reader, _payload: Buffer) -> Hello:
    return Hello(reader.digest(), reader.digest(), reader.text(MAX_NAME_BYTES), reader.text(MAX_NAME_BYTES))


def _pack_welcome(welcome: Welcome) -> Body:
    document = json.dumps(welcome.document, separators=(",", ":"), allow_nan=False).encode()
    return _WINDOW.pack(welcome.window_bytes, welcome.max_request_bytes), document


def _unpack_welcome(reader: Reader, payload: Buffer) -> Welcome:
    window_bytes, max_request_bytes = reader.ints(_WINDOW)
    if window_bytes < MAX_CHUNK_BYTES:
        raise WireError(f"a window of {window_bytes} bytes is smaller than a chunk")
    try:
        document = json.loads(bytes(payload))
    except (ValueError, RecursionError) as error:
        raise WireError("the WELCOME document is not JSON") from error
    if not isinstance(document, dict):
        raise WireError("the WELCOME document is not a JSON object")
    return Welcome(window_bytes, max_request_bytes, document)


def _pack_refuse(refuse: Refuse) -> Body:
    return pack_text(refuse.code, MAX_NAME_BYTES) + pack_text(refuse.message), None


def _unpack_refuse(reader: Reader, _payload: Buffer) -> Refuse:
    return Refuse(reader.text(MAX_NAME_BYTES), reader.text())


def _pack_error(error: ErrorReply) -> Body:
    return pack_text(error.code, MAX_NAME_BYTES) + pack_text(error.message), None


def _unpack_error(reader: Reader, _payload: Buffer) -> ErrorReply:
    return ErrorReply(reader.text(MAX_NAME_BYTES), reader.text())


def _pack_ping(ping: Ping) -> Body:
    return _U32.pack(ping.sequence), None


def _unpack_ping(reader: Reader, _payload: Buffer) -> Ping:
    return Ping(*reader.ints(_U32))


def _pack_pong(pong: Pong) -> Body:
    return _U32.pack(pong.sequence) + _PONG.pack(pong.load.queue_s, pong.load.load), None


def _unpack_pong(reader: Reader, _payload: Buffer) -> Pong:
    (sequence,) = reader.ints(_U32)
    return Pong(sequence, ServerLoad(*reader.take(_PONG)))


def _pack_ack(ack: Ack) -> Body:
    return _U64.pack(ack.received_bytes), None


def _unpack_ack(reader: Reader, _payload: Buffer) -> Ack:
    return Ack(*reader.ints(_U64))


def _pack_report(report: Report) -> Body:
    timings = report.timings
    numbers = (report.held_s, timings.queue_s, timings.decode_s, timings.compute_s, timings.load)
    return _REPORT.pack(*numbers), _pack_arrivals(report.arrivals)


def _unpack_report(reader: Reader, payload: Buffer) -> Report:
    held_s, queue_s, decode_s, compute_s, load = _non_negative(reader.take(_REPORT))
    return Report(held_s, ServerTimings(queue_s, decode_s, compute_s, load), _unpack_arrivals(payload))


def _pack_probe(probe: Probe) -> Body:
    return _TWO_U32.pack(probe.index, probe.count), probe.payload


def _unpack_probe(reader: Reader, payload: Buffer) -> Probe:
    index, count = reader.ints(_TWO_U32)
    if not index < count <= MAX_ARRIVALS:
        raise WireError(f"probe message {index} of {count}")
    return Probe(index, count, payload)


def _pack_probe_report(report: ProbeReport) -> Body:
    return _HELD.pack(report.held_s), _pack_arrivals(report.arrivals)


def _unpack_probe_report(reader: Reader, payload: Buffer) -> ProbeReport:
    (held_s,) = _non_negative(reader.take(_HELD))
    return ProbeReport(held_s, _unpack_arrivals(payload))


def _pack_bye(bye: Bye) -> Body:
    return pack_text(bye.reason), None


def _unpack_bye(reader: Reader, _payload: Buffer) -> Bye:
    return Bye(reader.text())


def _pack_cancel(_cancel: Cancel) -> Body:
    return b"", None


def _unpack_cancel(_reader: Reader, _payload: Buffer) -> Cancel:
    return Cancel()


def _pack_chunk(chunk: Chunk) -> Body:
    return pack_chunk(chunk), chunk.payload


def _pack_arrivals(arrivals: ArrivalTimes) -> bytes:
    table = np.empty(len(arrivals.offsets_s), _ARRIVAL)
    table["offset_ns"] = np.rint(np.asarray(arrivals.offsets_s, np.float64) * 1e9)
    table["n_bytes"] = arrivals.n_bytes
    return table.tobytes()


def _unpack_arrivals(payload: Buffer) -> ArrivalTimes:
    if len(payload) % _ARRIVAL.itemsize:
        raise WireError(f"{len(payload)} bytes are not a list of arrivals")
    table = np.frombuffer(payload, _ARRIVAL)
    offsets_ns = table["offset_ns"]
    if len(table) and (offsets_ns[0] != 0 or bool(np.any(offsets_ns[1:] < offsets_ns[:-1]))):
        raise WireError("the arrivals do not run forward from 0")
    return ArrivalTimes(tuple((offsets_ns / 1e9).tolist()), tuple(table["n_bytes"].tolist()))


def _non_negative(values: tuple[float, ...]) -> tuple[float, ...]:
    if min(values) < 0.0:
        raise WireError("a negative time or load")
    return values


_MAX_ARRIVAL_BYTES = MAX_ARRIVALS * _ARRIVAL.itemsize

FORMATS: dict[MessageType, BodyFormat] = {
    MessageType.HELLO: BodyFormat(Hello, _pack_hello, _unpack_hello),
    MessageType.WELCOME: BodyFormat(Welcome, _pack_welcome, _unpack_welcome, MAX_WELCOME_BYTES),
    MessageType.REFUSE: BodyFormat(Refuse, _pack_refuse, _unpack_refuse),
    MessageType.PING: BodyFormat(Ping, _pack_ping, _unpack_ping),
    MessageType.PONG: BodyFormat(Pong, _pack_pong, _unpack_pong),
    MessageType.DATA: BodyFormat(
        Chunk, _pack_chunk, lambda reader, payload: unpack_chunk(reader, payload, is_result=False), MAX_CHUNK_BYTES
    ),
    MessageType.RESULT: BodyFormat(
        Chunk, _pack_chunk, lambda reader, payload: unpack_chunk(reader, payload, is_result=True), MAX_CHUNK_BYTES
    ),
    MessageType.ACK: BodyFormat(Ack, _pack_ack, _unpack_ack),
    MessageType.REPORT: BodyFormat(Report, _pack_report, _unpack_report, _MAX_ARRIVAL_BYTES),
    MessageType.ERROR: BodyFormat(ErrorReply, _pack_error, _unpack_error),
    MessageType.CANCEL: BodyFormat(Cancel, _pack_cancel, _unpack_cancel),
    MessageType.PROBE: BodyFormat(Probe, _pack_probe, _unpack_probe, MAX_CHUNK_BYTES),
    MessageType.PROBE_REPORT: BodyFormat(ProbeReport, _pack_probe_report, _unpack_probe_report, _MAX_ARRIVAL_BYTES),
    MessageType.BYE: BodyFormat(Bye, _pack_bye, _unpack_bye),
    MessageType.OFFER: BodyFormat(Offer, pack_offer, unpack_offer),
    MessageType.GET_FILE: BodyFormat(GetFile, pack_get_file, unpack_get_file),
    MessageType.FILE_PART: BodyFormat(FilePart, pack_file_part, unpack_file_part, MAX_CHUNK_BYTES),
}
