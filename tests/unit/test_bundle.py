"""The file of a network: what is written is read back, and whatever was done to it is refused with its name and why."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import xxhash
from onnx import helper

from splitd.calibration.bundle import (
    Bundle,
    Reference,
    check_graph,
    open_bundle,
    prove_runner,
    standard_graph,
    write_bundle,
)
from splitd.calibration.bundle.layout import ALIGNMENT, HEADER, MAX_MANIFEST_BYTES
from splitd.calibration.executors import EXECUTORS
from splitd.errors import ModelError
from tests.source_tree import SOURCE
from tests.support import small_bundle

GOLDEN = Path(__file__).parents[1] / "support" / "bundles" / "golden.splitd"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return small_bundle.write(tmp_path / "small.splitd")


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the manifest, with lengths and checksum as a careful forger sets them."""
    content = path.read_bytes()
    magic, version, length, _, _ = HEADER.unpack_from(content)
    manifest = change(content[HEADER.size : HEADER.size + length])
    parts = content[HEADER.size + length :].lstrip(b"\0")  # the first part of an ONNX model begins with no zero
    front = bytes(HEADER.size) + manifest
    body = front + bytes(-len(front) % ALIGNMENT) + parts
    header = HEADER.pack(magic, version, len(manifest), len(body), xxhash.xxh3_128_digest(manifest))
    path.write_bytes(header + body[HEADER.size :])


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_bundle(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message


def test_what_is_written_is_read_back(bundle: Bundle) -> None:
    expected = small_bundle.reference()
    found = bundle.reference()
    assert found is not None
    np.testing.assert_array_equal(found.inputs, expected.inputs)
    np.testing.assert_array_equal(found.outputs[0], expected.outputs[0])
    assert bundle.description == small_bundle.description()
    assert [bundle.onnx(i) for i in range(2)] == small_bundle.segments()
    assert bundle.codebook() == small_bundle.CODEBOOK
    assert bundle.made_with == small_bundle.MADE_WITH
    assert bundle.size == bundle.path.stat().st_size


def test_reference_and_codebook_may_be_left_out(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bare.splitd", small_bundle.description(), small_bundle.segments())
    assert bundle.reference() is None
    assert bundle.codebook() is None


def test_the_golden_file_opens_computes_what_it_says_and_is_written_alike(tmp_path: Path) -> None:
    golden = open_bundle(GOLDEN)
    reference = golden.reference()
    assert reference is not None
    live = reference.inputs
    for i in range(golden.description.last):
        (live,) = onnxruntime.InferenceSession(golden.onnx(i)).run(None, {"x": live})
    np.testing.assert_array_equal(live, reference.outputs[0])
    again = write_bundle(
        tmp_path / "again.splitd",
        golden.description,
        [golden.onnx(i) for i in range(golden.description.last)],
        reference=reference,
        codebook=golden.codebook(),
        made_with=golden.made_with,
    )
    assert again.path.read_bytes() == GOLDEN.read_bytes()
    assert again.file_digest == golden.file_digest == "f6ef5e61e4c2e90d95c3c0b2f4b50dab"


def test_parts_begin_where_the_specification_says(bundle: Bundle) -> None:
    content = bundle.path.read_bytes()
    assert len(content) % ALIGNMENT == 0
    first = content.index(small_bundle.segments()[0])
    _, _, length, size, _ = HEADER.unpack_from(content)
    assert first == HEADER.size + length + (-(HEADER.size + length) % ALIGNMENT)
    assert size == len(content)


def test_every_flipped_bit_is_found(bundle: Bundle) -> None:
    content = bundle.path.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << (position % 8)
        bundle.path.write_bytes(changed)
        refusal(bundle.path)


def test_every_truncation_is_found(bundle: Bundle) -> None:
    content = bundle.path.read_bytes()
    for length in range(0, len(content), 7):
        bundle.path.write_bytes(content[:length])
        refusal(bundle.path)
    bundle.path.write_bytes(content + bytes(64))
    assert "truncated, or has grown" in refusal(bundle.path)


@pytest.mark.parametrize(
    ("manifest_length", "size", "message"),
    [(MAX_MANIFEST_BYTES + 1, None, "manifest would have"), (2**32 - 1, None, "manifest would have"),
     (0, None, "manifest would have"), (None, 2**64 - 1, "truncated"), (None, 0, "truncated")],
)  # fmt: skip
def test_lengths_are_checked_before_anything_is_read(
    bundle: Bundle, manifest_length: int | None, size: int | None, message: str
) -> None:
    content = bytearray(bundle.path.read_bytes())
    if manifest_length is not None:
        struct.pack_into("<I", content, 12, manifest_length)
    if size is not None:
        struct.pack_into("<Q", content, 16, size)
    bundle.path.write_bytes(content)
    assert message in refusal(bundle.path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"segment/1"', b'"segment/0"', "lists part segment/0 twice"),
        (b'"segment/1"', b'"segment/2"', "segment/1 is missing"),
        (b'"codebook"', b'"program"', "it has program, which is no part of this network"),
        (b'"bytes":10,', b'"bytes":4294967296,', "not in 1..2147483647"),
        (b'"bytes":10,', b'"bytes":-1,', "not in 1..2147483647"),
        (b'"bytes":10,', b'"bytes":10.0,', "expected a whole number"),
        (b'"bytes":10,', b'"bytes":2000000000,', "its parts would make"),
        (b'"samples":2', b'"samples":3', "reference/input has 384 bytes, 3 samples have 576"),
        (b'"samples":2', b'"samples":0', "it has reference/input"),
        (b'"samples":2', b'"samples":1000000', "samples: not in"),
        (b'"samples":2', b'"samples":NaN', "NaN is not JSON"),
        (b'"samples":2', b'"samples":' + b"[" * 100_000, "is not valid"),
        (b'"samples":2', b'"more":1,"samples":2', "expected the fields"),
        (b'"model":"small"', b'"model":"\\u001b[31m"', "printable"),
        (b'"names":["input",', b'"names":["input","again",', "same positions"),
        (b'"fixed":[1,3,4,4]', b'"fixed":[1,3,4,1e9]', "whole number"),
        (b'"by hand"', b'["by hand"]', "printable"),
    ],
)
def test_an_impossible_manifest_is_refused(bundle: Bundle, old: bytes, new: bytes, message: str) -> None:
    def change(manifest: bytes) -> bytes:
        assert old in manifest
        return manifest.replace(old, new, 1)

    rewrite(bundle.path, change)
    assert message in refusal(bundle.path)


def test_parts_in_another_order_are_refused(bundle: Bundle) -> None:
    def change(manifest: bytes) -> bytes:
        swapped = manifest.replace(b"segment/0", b"SEGMENT").replace(b"segment/1", b"segment/0")
        return swapped.replace(b"SEGMENT", b"segment/1")

    rewrite(bundle.path, change)
    assert "not in their order" in refusal(bundle.path)


def test_another_format_says_what_to_do(bundle: Bundle) -> None:
    content = bytearray(bundle.path.read_bytes())
    struct.pack_into("<I", content, 8, 2)
    bundle.path.write_bytes(content)
    assert "format 2, this splitd reads 1: export it" in refusal(bundle.path)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.splitd")
    assert "no regular file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refusal(tmp_path / "pipe")


def test_a_file_that_changes_after_it_was_opened_is_noticed(bundle: Bundle) -> None:
    content = bytearray(bundle.path.read_bytes())
    place = content.index(small_bundle.segments()[1])
    content[place + 10] ^= 1
    bundle.path.write_bytes(content)
    with pytest.raises(ModelError, match=r"small.splitd: segment/1: it is damaged, or the file has changed"):
        bundle.onnx(1)
    bundle.onnx(0)


def test_what_cannot_be_written_leaves_the_old_file(bundle: Bundle) -> None:
    before = bundle.path.read_bytes()
    reference = small_bundle.reference()
    wrong = Reference(reference.inputs, (reference.outputs[0][:1],))
    with pytest.raises(ModelError, match="reference/output/0"):
        write_bundle(bundle.path, small_bundle.description(), small_bundle.segments(), reference=wrong)
    with pytest.raises(ModelError, match="segment/1 is missing"):
        write_bundle(bundle.path, small_bundle.description(), small_bundle.segments()[:1])
    with pytest.raises(ModelError, match="cannot be written"):
        write_bundle(bundle.path / "below", small_bundle.description(), small_bundle.segments())
    assert bundle.path.read_bytes() == before
    assert [path.name for path in bundle.path.parent.iterdir()] == [bundle.path.name]


def test_a_runner_is_held_to_the_reference(bundle: Bundle) -> None:
    def error(found: Bundle) -> float | None:
        return prove_runner(found, EXECUTORS["onnxruntime"].build(found, threads=1))

    assert error(bundle) == 0
    reference = small_bundle.reference()
    other = Reference(reference.inputs, (1.1 * reference.outputs[0],))
    wrong = write_bundle(bundle.path, bundle.description, small_bundle.segments(), reference=other)
    with pytest.raises(ModelError, match="computes something else than the network"):
        error(wrong)
    assert error(write_bundle(bundle.path, bundle.description, small_bundle.segments())) is None


# What an ONNX model may hold.


def loaded() -> onnx.ModelProto:
    return onnx.load_from_string(small_bundle.segments()[0])


def with_external_data(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def with_hidden_external_data(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")


def with_custom_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].domain = "com.microsoft"


def with_custom_import(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("my.operators", 1))


def with_function(model: onnx.ModelProto) -> None:
    relu = helper.make_node("Relu", ["a"], ["b"])
    model.functions.append(
        helper.make_function("", "Relu", ["a"], ["b"], [relu], [helper.make_opsetid("", small_bundle.OPSET)])
    )


def with_operator_in_a_branch(model: onnx.ModelProto) -> None:
    inner = helper.make_node("Secret", [], ["y"], domain="my.operators")
    branch = helper.make_graph([inner], "branch", [], [helper.make_tensor_value_info("y", 1, None)])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))


def with_training(model: onnx.ModelProto) -> None:
    model.training_info.add()


def with_sparse_weights(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_external_data, "external data"),
        (with_hidden_external_data, "external data"),
        (with_custom_operator, "domain 'com.microsoft'"),
        (with_custom_import, "domain 'my.operators'"),
        (with_function, "functions"),
        (with_operator_in_a_branch, "domain 'my.operators'"),
        (with_training, "training information"),
        (with_sparse_weights, "sparse tensors"),
    ],
)
def test_a_graph_may_hold_data_and_standard_operators_only(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    model = loaded()
    change(model)
    hostile = model.SerializeToString()
    with pytest.raises(ModelError, match=message):
        check_graph(hostile)
    with pytest.raises(ModelError, match=f"segment/0: .*{message}"):
        write_bundle(tmp_path / "x", small_bundle.description(), [hostile, small_bundle.segments()[1]])


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (b"", "without a graph"),
        (b"\x3a\x05", "ends behind its message"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a number has no end"),
        (b"\x38\x01", "has a number as field 7"),
        (b"\x0b", "wire type 3"),
        (b"\xf8\x07\x01", "field 127"),
    ],
)
def test_what_is_no_onnx_is_refused(damaged: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_graph(damaged)


def test_deep_nesting_ends_the_walk() -> None:
    graph = b""
    for _ in range(10):
        attribute = b"\x32" + _sized(graph)
        graph = b"\x0a" + _sized(b"\x2a" + _sized(attribute))
    with pytest.raises(ModelError, match="nests more than"):
        check_graph(b"\x3a" + _sized(graph))


def _sized(message: bytes) -> bytes:
    length, encoded = len(message), bytearray()
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*encoded, length]) + message


def test_a_graph_is_exported_without_the_exporters_notes() -> None:
    model = loaded()
    model.doc_string = "notes"
    model.metadata_props.add(key="path", value="/home/me")
    model.graph.node[0].metadata_props.add(key="stack", value="/home/me/model.py")
    model.opset_import.append(helper.make_opsetid("pkg.unused", 1))
    assert standard_graph(model.SerializeToString()) == small_bundle.segments()[0]


def test_an_operator_that_is_not_of_the_standard_is_named() -> None:
    model = loaded()
    model.graph.node[1].op_type = "Relux"
    with pytest.raises(ModelError, match="Relux, which is no standard ONNX operator of opset 17"):
        standard_graph(model.SerializeToString())
    model = loaded()
    with_custom_operator(model)
    with pytest.raises(ModelError, match=r"com.microsoft.Relu"):
        standard_graph(model.SerializeToString())


def test_opening_needs_neither_torch_nor_onnx() -> None:
    program = (
        "import sys; from pathlib import Path; from splitd.calibration.bundle import open_bundle\n"
        "open_bundle(Path(sys.argv[1])).check_graphs()\n"
        "print({'torch', 'timm', 'onnx', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(GOLDEN)], check=True, capture_output=True, text=True, cwd=SOURCE
    )
    assert done.stdout.strip() == "set()"
