"""Is this ONNX graph data and standard operators only? A walk over its protobuf, without the onnx package. Sans-IO.

A runtime that is given a model does more than arithmetic: it opens files that tensors name as external data, looks up
operators of any registered domain, and expands functions. So before any runtime sees a graph, every field of every
message is looked up in a table of what is allowed, and everything else is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from splitd.errors import ModelError

STANDARD_DOMAINS = (b"", b"ai.onnx")  # two names of one set of operators
MAX_FIELDS = 5_000_000  # several times those of the largest network; bounds the walk to seconds
MAX_DEPTH = 16  # of messages in messages: a graph in an attribute in a node takes three

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Field(NamedTuple):
    """What a field holds: bytes that mean nothing here, a message of that name, a domain, or a zero."""

    kind: str
    message: str = ""


_DATA, _DOMAIN, _ZERO = _Field("data"), _Field("domain"), _Field("zero")


def _message(name: str) -> _Field:
    return _Field("message", name)


def _data(*numbers: int) -> dict[int, _Field]:
    return dict.fromkeys(numbers, _DATA)


# onnx.proto3, field by field. Left out, so refused: functions, training information, external data, sparse tensors,
# types as attributes, placements on devices.
_ALLOWED: Mapping[str, Mapping[int, _Field]] = {
    "model": {**_data(1, 2, 3, 4, 5, 6, 14), 7: _message("graph"), 8: _message("operator set")},
    "operator set": {1: _DOMAIN, 2: _DATA},
    "graph": {
        **_data(2, 10, 11, 12, 13, 14, 16),
        1: _message("node"),
        5: _message("tensor"),
    },
    "node": {**_data(1, 2, 3, 4, 6, 9), 5: _message("attribute"), 7: _DOMAIN},
    "attribute": {
        **_data(1, 2, 3, 4, 7, 8, 9, 13, 20),
        5: _message("tensor"),
        6: _message("graph"),
        10: _message("tensor"),
        11: _message("graph"),
    },
    "tensor": {**_data(1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16), 14: _ZERO},
}
_NAMES = {
    ("model", 20): "training information",
    ("model", 25): "functions",
    ("graph", 15): "sparse tensors",
    ("attribute", 21): "a reference to a function's attribute",
    ("tensor", 13): "external data",
    ("tensor", 14): "external data",
}


def check_graph(model: bytes) -> None:
    """Refuse an ONNX model that is anything but a graph of standard operators with its weights in it.

    Raises:
        ModelError: It is no protobuf, or has functions, operators of another domain, external data or anything else
            that is not in the table above.
    """
    view = memoryview(model)
    waiting = [("model", 0, len(view), 0)]
    fields = 0
    graphs = 0
    while waiting:
        name, start, end, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ModelError(f"an ONNX graph nests more than {MAX_DEPTH} messages")
        graphs += name == "graph"
        for number, value, first, last in _fields(view, start, end):
            fields += 1
            if fields > MAX_FIELDS:
                raise ModelError(f"an ONNX graph has more than {MAX_FIELDS} fields")
            allowed = _allowed(name, number)
            if allowed.kind == "message":
                waiting.append((allowed.message, _bytes_at(first, name, number), last, depth + 1))
            elif allowed.kind == "domain":
                _check_domain(bytes(view[_bytes_at(first, name, number) : last]), name)
            elif allowed.kind == "zero" and (value or first >= 0):
                raise ModelError(f"an ONNX {name} has {_NAMES[name, number]}")
    if not graphs:
        raise ModelError("an ONNX model without a graph")


def _allowed(message: str, number: int) -> _Field:
    found = _ALLOWED[message].get(number)
    if found is None:
        what = _NAMES.get((message, number), f"field {number}")
        raise ModelError(f"an ONNX {message} has {what}, which a bundle may not hold")
    return found


def _check_domain(domain: bytes, message: str) -> None:
    if domain not in STANDARD_DOMAINS:
        shown = domain[:80].decode(errors="replace")
        raise ModelError(f"an ONNX {message} is of the domain {shown!r}; only standard operators are allowed")


def _bytes_at(first: int, message: str, number: int) -> int:
    if first < 0:
        raise ModelError(f"an ONNX {message} has a number as field {number}")
    return first


def _fields(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield each field's number, its value if it is a varint, and the range of its bytes; -1 is the start of none."""
    position = start
    while position < end:
        tag, position = _varint(view, position, end)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _varint(view, position, end)
            yield number, value, -1, -1
            continue
        if kind == _BYTES:
            length, position = _varint(view, position, end)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ModelError(f"damaged ONNX: wire type {kind}")
        if length > end - position:
            raise ModelError("damaged ONNX: a field ends behind its message")
        yield number, 0, position if kind == _BYTES else -1, position + length
        position += length


def _varint(view: memoryview, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 64:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ModelError("damaged ONNX: a number has no end")
