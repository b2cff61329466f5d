"""The wire format against its manual and against bytes that must never change within a protocol version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from splitd.errors import WireError
from splitd.transport.wire import frames as wire
from splitd.transport.wire import limits
from splitd.transport.wire.bodies import FORMATS
from splitd.transport.wire.chunk_body import DTYPES
from splitd.transport.wire.handshake import names_hash
from splitd.transport.wire.messages import (
    Chunk,
    FilePart,
    GetFile,
    Hello,
    Message,
    MessageType,
    Offer,
    Refuse,
    ServerLoad,
    TensorMeta,
    Welcome,
)

MANUAL = (Path(__file__).parents[2] / "docs" / "wire-format.md").read_text("utf-8")

HELLO_BYTES = [
    (
        "53504c440101510000000000070000000000000000000000c294d3380580062d0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
        "f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f00300302e3106006a6574736f6e3cb16b08"
    ),
]
CHUNK_BYTES = [
    (
        "53504c4401066800090000000800000000000000030000003b73ae32769bceeb0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
        "fa0000000300000102010002000000000100000000000000000000000200000000000000010000000000000002000000"
        "00000000ebc0b00c"
    ),
    "010203",
]


FILE_MESSAGES: list[tuple[Message, list[str]]] = [
    (
        Offer("0f" * 16, "f0" * 16, 1_000_000, "net"),
        [
            (
                "53504c44010f510009000000080000000000000000000000c294d3380580062d0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
                "f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f040420f000000000003006e6574e66afc6b"
            ),
        ],
    ),
    (
        GetFile("0f" * 16, 65_536, 934_464),
        [
            (
                "53504c440110440009000000080000000000000000000000c294d3380580062d0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
                "000001000000000040420e0000000000a0ec59e6"
            ),
        ],
    ),
    (
        FilePart(65_536, b"\x01\x02\x03"),
        ["53504c4401112c00090000000800000000000000030000003b73ae32769bceeb000001000000000038e19578", "010203"],
    ),
]


def test_the_manual_lists_every_message_type_and_who_has_a_payload() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \| (?:device|server|both) \| .* \| (.+) \|$", MANUAL, re.MULTILINE)
    assert {(int(number), name) for number, name, _ in rows} == {(t.value, t.name) for t in MessageType}
    for _, name, payload in rows:
        assert (payload == "none") == (FORMATS[MessageType[name]].max_payload is None), name


def test_the_manual_lists_every_dtype() -> None:
    row = re.search(r"^\| dtype \| u8 \| (.+) \|$", MANUAL, re.MULTILINE)
    assert row is not None
    assert row[1] == ", ".join(f"{code} {name}" for code, name in enumerate(DTYPES))


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("at most 2048", limits.MAX_HEADER_BYTES),
        ("at most 8193", limits.MAX_ARRIVALS),
        ("count ≤ 8192", limits.MAX_CHUNKS_PER_REQUEST),
        ("count ≤ 128", limits.MAX_TENSORS),
        ("at most 3 600 000", limits.MAX_DEADLINE_MS),
        ("at most 68 719 476 736", limits.MAX_FILE_BYTES),
    ],
)
def test_the_limits_of_the_manual_are_those_of_the_code(sentence: str, value: int) -> None:
    assert sentence in MANUAL
    assert int(re.sub(r"\D", "", sentence)) == value


def test_the_bytes_of_version_1_stay_as_they_are() -> None:
    hello = Hello("0f" * 16, "f0" * 16, "0.1", "jetson")
    chunk = Chunk("0f" * 16, 250, 3, 0, 1, TensorMeta((1, 2), "float32"), 2, 1, 0, 1, 0, 2, b"\x01\x02\x03")
    assert [bytes(f).hex() for f in wire.encode(hello, epoch=0, request_id=7)] == HELLO_BYTES
    assert [bytes(f).hex() for f in wire.encode(chunk, epoch=9, request_id=8)] == CHUNK_BYTES
    assert wire.decode([bytes.fromhex(frame) for frame in HELLO_BYTES]).message == hello
    assert wire.decode([bytes.fromhex(frame) for frame in CHUNK_BYTES]).message == chunk


@pytest.mark.parametrize(("message", "frames"), FILE_MESSAGES)
def test_the_bytes_of_the_messages_about_files_stay_as_they_are(message: Message, frames: list[str]) -> None:
    assert [bytes(f).hex() for f in wire.encode(message, epoch=9, request_id=8)] == frames
    assert wire.decode([bytes.fromhex(frame) for frame in frames]).message == message


def test_long_texts_are_cut_between_characters() -> None:
    decoded = wire.decode(wire.encode(Refuse("ä" * 60, "é" * 2000), epoch=0)).message
    assert decoded == Refuse("ä" * 32, "é" * 512)


def test_a_document_that_is_no_json_or_too_large_is_refused_by_the_sender() -> None:
    for document in ({"x": float("nan")}, {"x": {1, 2}}, {"x": "y" * (5 * limits.MIB)}):
        with pytest.raises(WireError):
            wire.encode(Welcome(limits.MIB, 1, document), epoch=1)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0])
def test_impossible_loads_cannot_be_said(number: float) -> None:
    with pytest.raises(WireError):
        ServerLoad(queue_s=number)


def test_cut_lists_are_compared_in_order_and_by_whole_names() -> None:
    hashes = {names_hash(names) for names in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], [])}
    assert len(hashes) == 5
    assert all(len(value) == 32 for value in hashes)
