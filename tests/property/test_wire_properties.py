"""The wire format under hypothesis: whatever is sent comes back, and whatever is broken is a WireError."""

from __future__ import annotations

import struct
from dataclasses import replace

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import xxhash
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from splitd.errors import WireError
from splitd.transport.estimate.observations import Arrival
from splitd.transport.wire import frames as wire
from splitd.transport.wire.assembly import Assembly
from splitd.transport.wire.chunk_body import DTYPES
from splitd.transport.wire.limits import MAX_CHUNK_BYTES, MAX_FILE_BYTES, MAX_HEADER_BYTES
from splitd.transport.wire.messages import (
    Ack,
    ArrivalTimes,
    Bye,
    Cancel,
    Chunk,
    ErrorReply,
    FilePart,
    GetFile,
    Hello,
    Message,
    Offer,
    Ping,
    Pong,
    Probe,
    ProbeReport,
    Refuse,
    Report,
    ServerLoad,
    ServerTimings,
    TensorMeta,
    Welcome,
)
from splitd.transport.wire.raw_tensors import join_raw, raw_chunks

digests = st.binary(min_size=16, max_size=16).map(bytes.hex)
names = st.text(max_size=16)
texts = st.text(max_size=200)
seconds = st.floats(0.0, 1e6)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def arrival_lists(draw: st.DrawFn) -> ArrivalTimes:
    gaps_ns = draw(st.lists(st.integers(0, 10**10), max_size=20))
    offsets_ns = [0, *np.cumsum(gaps_ns, dtype=np.int64).tolist()] if gaps_ns else []
    n_bytes = draw(st.lists(u32, min_size=len(offsets_ns), max_size=len(offsets_ns)))
    return ArrivalTimes(tuple(ns / 1e9 for ns in offsets_ns), tuple(n_bytes))


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    shape = tuple(draw(st.lists(st.integers(0, 6), max_size=5)))
    meta = TensorMeta(shape, draw(st.sampled_from(DTYPES)))
    elements = meta.n_elements
    first = draw(st.integers(0, max(0, elements - 1)))
    n_elements = 0 if elements == 0 else draw(st.integers(1, elements - first))
    codec, flags = draw(st.sampled_from([(0, 0), (0, 1), (2, 0), (3, 2), (255, 255)]))
    raw_bytes = n_elements * np.dtype(meta.dtype).itemsize
    size = raw_bytes if (codec, flags) == (0, 0) else draw(st.integers(0, 64))
    count = draw(st.integers(1, max(1, elements)))
    tensor_count = draw(st.integers(1, 5))
    return Chunk(
        model_digest=draw(digests),
        deadline_ms=draw(st.none() | st.integers(0, 3_600_000)),
        cut=draw(st.integers(0, 65535)),
        tensor_index=draw(st.integers(0, tensor_count - 1)),
        tensor_count=tensor_count,
        tensor=meta,
        codec=codec,
        flags=flags,
        chunk_index=draw(st.integers(0, count - 1)),
        chunk_count=count,
        first_element=first,
        n_elements=n_elements,
        payload=draw(st.binary(min_size=size, max_size=size)),
        is_result=draw(st.booleans()),
    )


timings = st.builds(ServerTimings, seconds, seconds, seconds, seconds)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, digests, digests, names, names),
    st.builds(Welcome, st.integers(2**20, 2**40), u64, st.dictionaries(names, json_values, max_size=4)),
    st.builds(Refuse, names, texts),
    st.builds(Ping, u32),
    st.builds(Pong, u32, st.builds(ServerLoad, seconds, seconds)),
    chunks(),
    st.builds(Ack, u64),
    st.builds(Report, seconds, timings, arrival_lists()),
    st.builds(ErrorReply, names, texts),
    st.just(Cancel()),
    st.integers(1, 4096).flatmap(
        lambda count: st.builds(Probe, st.integers(0, count - 1), st.just(count), st.binary(max_size=64))
    ),
    st.builds(ProbeReport, seconds, arrival_lists()),
    st.builds(Bye, texts),
    st.builds(Offer, digests, digests, st.integers(1, MAX_FILE_BYTES), names.filter(str.isprintable)),
    st.integers(1, MAX_FILE_BYTES).flatmap(
        lambda n_bytes: st.builds(GetFile, digests, st.integers(0, MAX_FILE_BYTES - n_bytes), st.just(n_bytes))
    ),
    st.builds(FilePart, st.integers(0, MAX_FILE_BYTES - 64), st.binary(min_size=1, max_size=64)),
)


def frames_of(message: Message, epoch: int = 1, request_id: int = 2) -> list[bytes]:
    return [bytes(frame) for frame in wire.encode(message, epoch=epoch, request_id=request_id)]


def sealed(header: bytes) -> bytes:
    """The header with a right checksum: damage that a checksum does not catch."""
    return header[:-4] + struct.pack("<I", xxhash.xxh32_intdigest(header[:-4]))


@settings(deadline=None)
@given(messages, u32, u64)
def test_every_message_comes_back_as_it_was(message: Message, epoch: int, request_id: int) -> None:
    frames = frames_of(message, epoch, request_id)
    envelope = wire.decode(frames)
    assert (envelope.epoch, envelope.request_id, envelope.message) == (epoch, request_id, message)
    assert envelope.n_bytes == sum(map(len, frames))


@settings(deadline=None)
@given(messages, st.data())
def test_a_truncated_header_is_a_wire_error(message: Message, data: st.DataObject) -> None:
    header, *payload = frames_of(message)
    cut = data.draw(st.integers(0, len(header) - 1))
    with pytest.raises(WireError):
        wire.decode([header[:cut], *payload])


@settings(deadline=None)
@given(messages, st.data())
def test_a_flipped_bit_anywhere_is_a_wire_error(message: Message, data: st.DataObject) -> None:
    frames = frames_of(message)
    which = data.draw(st.integers(0, len(frames) - 1))
    assume(frames[which])
    damaged = bytearray(frames[which])
    bit = data.draw(st.integers(0, len(damaged) * 8 - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    frames[which] = bytes(damaged)
    with pytest.raises(WireError):
        wire.decode(frames)


@settings(deadline=None)
@given(messages, st.data())
def test_fields_overwritten_behind_a_right_checksum_never_raise_anything_else(
    message: Message, data: st.DataObject
) -> None:
    header, *payload = frames_of(message)
    at = data.draw(st.integers(4, len(header) - 5))
    patch = data.draw(st.binary(min_size=1, max_size=min(8, len(header) - 4 - at)))
    damaged = sealed(header[:at] + patch + header[at + len(patch) :])
    try:
        decoded = wire.decode([damaged, *payload])
    except WireError:
        return
    again = frames_of(decoded.message, decoded.epoch, decoded.request_id)
    assert wire.decode(again).message == decoded.message


@settings(deadline=None)
@given(st.lists(st.binary(max_size=MAX_HEADER_BYTES + 8), max_size=3))
def test_noise_is_a_wire_error(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        wire.decode(frames)


@settings(deadline=None)
@given(messages, st.sampled_from(["missing", "added"]))
def test_a_wrong_number_of_frames_is_a_wire_error(message: Message, what: str) -> None:
    frames = frames_of(message)
    frames = frames[:-1] if what == "missing" else [*frames, b""]
    with pytest.raises(WireError):
        wire.decode(frames)


@settings(deadline=None)
@given(
    chunks(),
    st.sampled_from(
        [
            {"tensor_index": 5, "tensor_count": 5},
            {"tensor_count": 129},
            {"chunk_index": 8192, "chunk_count": 8193},
            {"chunk_index": 1, "chunk_count": 1},
            {"first_element": 2**63},
            {"n_elements": 2**40},
            {"tensor": TensorMeta((2**32, 2**32, 2**32))},
            {"tensor": TensorMeta((0, 2**40, 2**40))},
            {"tensor": TensorMeta((1,) * 9)},
            {"tensor": TensorMeta((1,), "complex64")},
            {"tensor": TensorMeta((-1, -1))},
            {"deadline_ms": 3_600_001},
            {"cut": 65536},
            {"codec": 256},
            {"model_digest": "00"},
            {"model_digest": "zz" * 16},
        ]
    ),
)
def test_a_chunk_that_contradicts_itself_is_refused_by_the_sender(chunk: Chunk, change: dict[str, object]) -> None:
    with pytest.raises(WireError):
        wire.encode(replace(chunk, **change), epoch=1)


@pytest.mark.parametrize(
    "message",
    [
        Offer("00" * 16, "11" * 16, 0, "net"),
        Offer("00" * 16, "11" * 16, MAX_FILE_BYTES + 1, "net"),
        Offer("00" * 16, "11" * 16, 1, "net\nREADY=1"),
        Offer("00" * 15, "11" * 16, 1, "net"),
        GetFile("00" * 16, 0, 0),
        GetFile("00" * 16, -1, 2),
        GetFile("00" * 16, MAX_FILE_BYTES, 1),
        GetFile("00" * 16, 2**64 - 1, 2),
        FilePart(0, b""),
        FilePart(-1, b"xy"),
        FilePart(MAX_FILE_BYTES, b"x"),
        FilePart(0, bytes(MAX_CHUNK_BYTES + 1)),
    ],
)
def test_an_impossible_file_offset_or_name_is_refused_by_the_sender(message: Message) -> None:
    with pytest.raises(WireError):
        wire.encode(message, epoch=1)


@given(u64, u64)
def test_a_range_that_overflows_is_refused_by_the_receiver(offset: int, n_bytes: int) -> None:
    header = frames_of(GetFile("00" * 16, 0, 1))[0]
    forged = sealed(header[:-20] + struct.pack("<QQ", offset, n_bytes) + header[-4:])
    if n_bytes and offset + n_bytes <= MAX_FILE_BYTES:
        assert wire.decode([forged]).message == GetFile("00" * 16, offset, n_bytes)
    else:
        with pytest.raises(WireError):
            wire.decode([forged])


arrays = hnp.arrays(
    dtype=st.sampled_from(DTYPES).map(np.dtype),
    shape=hnp.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=7),
)


@settings(deadline=None)
@given(arrays, st.sampled_from(["C", "F", "strided", "negative"]), st.randoms())
def test_any_tensor_comes_back_whatever_its_order_and_that_of_its_chunks(array, order, random) -> None:  # type: ignore[no-untyped-def]
    if order == "F":
        array = np.asfortranarray(array)
    elif order == "strided" and array.ndim:
        array = array[::2]
    elif order == "negative" and array.ndim:
        array = array[..., ::-1]
    meta = TensorMeta(array.shape, array.dtype.name)
    sent = [
        Chunk("00" * 16, None, 1, 0, 1, meta, c.codec, c.flags, i, n, p.first_element, p.n_elements, c.payload)
        for c, p, i, n in raw_chunks(array)
    ]
    random.shuffle(sent)
    received = [wire.decode(frames_of(chunk)).message for chunk in sent]
    assembly = Assembly(received[0])
    for chunk in received:
        assert not assembly.is_complete
        assembly.add(chunk, Arrival(0.0, 1))
    assert assembly.is_complete
    joined = join_raw(assembly.tensors[0], assembly.chunks()[0])
    assert joined.shape == array.shape
    assert joined.dtype == array.dtype
    assert joined.tobytes() == array.tobytes()
