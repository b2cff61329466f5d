"""Whatever bytes stand in a bundle or a graph, they are taken whole or refused with a ModelError, no other error."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from splitd.calibration.bundle import check_graph, open_bundle
from splitd.calibration.bundle.layout import HEADER
from splitd.errors import ModelError
from tests.support import small_bundle

Edits = list[tuple[float, bytes]]
EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4
)


@lru_cache
def content() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return small_bundle.write(Path(folder) / "small.splitd").path.read_bytes()


def edited(data: bytes, edits: Edits) -> bytes:
    for place, replacement in edits:
        start = int(place * len(data))
        data = data[:start] + replacement + data[start + len(replacement) :]
    return data


def opened(data: bytes) -> bool:
    """Whether a file of these bytes is taken; then all of it can be read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.splitd"
        path.write_bytes(data)
        try:
            bundle = open_bundle(path)
            bundle.check_graphs()
        except ModelError as error:
            return not str(error).startswith(str(path))
        bundle.reference()
        bundle.codebook()
        return True


@given(st.binary(max_size=512))
def test_foreign_bytes_are_no_bundle(data: bytes) -> None:
    assert not opened(data)


@given(EDITS)
def test_no_change_goes_unnoticed(edits: Edits) -> None:
    assert opened(edited(content(), edits)) == (edited(content(), edits) == content())


@given(EDITS)
@example([(0.0, b"[")])
def test_a_forged_manifest_is_taken_whole_or_refused(edits: Edits) -> None:
    _, _, length, _, _ = HEADER.unpack_from(content())
    manifest = edited(content()[HEADER.size : HEADER.size + length], edits)[:length]
    header = HEADER.pack(*HEADER.unpack_from(content())[:4], xxhash.xxh3_128_digest(manifest))
    opened(header + manifest + content()[HEADER.size + length :])


@given(st.binary(max_size=256))
def test_foreign_bytes_are_refused_or_an_empty_graph(data: bytes) -> None:
    try:
        check_graph(data)
    except ModelError:
        return


@given(st.sampled_from(small_bundle.segments()), EDITS)
def test_an_edited_graph_is_taken_or_refused(model: bytes, edits: Edits) -> None:
    try:
        check_graph(edited(model, edits))
    except ModelError:
        return
