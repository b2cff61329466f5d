"""How tensors are cut into chunks."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitd.errors import CodecError
from splitd.native.plan import (
    MAX_CHUNK_ELEMENTS,
    MIN_CHUNKS,
    ChunkPlan,
    chunk_count,
    chunk_plan_at,
    plan_chunks,
    plan_raw,
    plane_count,
    raw_chunk_count,
)
from splitd.native.spec import parse

SHAPES = [(1, 16, 112, 112), (8, 320, 7, 7), (1, 3, 600, 800), (4, 1000), (5000,), (), (2, 197, 768), (1, 1, 1, 70_000)]


@pytest.mark.parametrize("label", ["f32", "f16", "u8", "u4h"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_chunks_cover_the_tensor_once_in_whole_planes(shape: tuple[int, ...], label: str) -> None:
    plans = plan_chunks(shape, parse(label))
    position = 0
    for plan in plans:
        assert plan.first_element == position
        assert 0 < plan.n_elements <= MAX_CHUNK_ELEMENTS
        assert plan.n_elements % plan.plane_elements == 0
        position += plan.n_elements
    total = 1
    for size in shape:
        total *= size
    assert position == total


@pytest.mark.parametrize("label", ["f32", "u8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_receiver_finds_the_same_plan(shape: tuple[int, ...], label: str) -> None:
    for plan in plan_chunks(shape, parse(label)):
        assert chunk_plan_at(shape, plan.first_element, plan.n_elements) == plan


def test_a_tensor_of_some_size_becomes_a_packet_train() -> None:
    assert len(plan_chunks((1, 16, 112, 112), parse("u8"))) >= MIN_CHUNKS


def test_chunks_stay_above_what_a_message_is_worth() -> None:
    assert all(plan.n_elements >= 3900 for plan in plan_chunks((1, 80, 14, 14), parse("u8"))[:-1])


def test_chunks_of_float32_hold_about_the_target() -> None:
    plans = plan_chunks((8, 16, 112, 112), parse("f32"), target_bytes=65_536)
    assert max(plan.n_elements for plan in plans) * 4 <= 65_536


def test_an_empty_tensor_is_one_empty_chunk() -> None:
    assert plan_chunks((0, 3, 4, 4), parse("u8")) == (ChunkPlan(0, 0, 1),)
    assert chunk_plan_at((0, 3, 4, 4), 0, 0) == ChunkPlan(0, 0, 1)


@pytest.mark.parametrize(
    ("first", "n"), [(-1, 4), (0, 0), (0, 17), (12, 8), (2, 4), (0, 6), (16, 1), (0, 1 << 70), (1 << 70, 4)]
)
def test_chunks_that_no_sender_cuts_are_refused(first: int, n: int) -> None:
    with pytest.raises(CodecError):
        chunk_plan_at((1, 4, 2, 2), first, n)


@pytest.mark.parametrize("shape", [(-1, 4), (1 << 40, 1 << 40), (1 << 20, 1 << 20)])
def test_impossible_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CodecError):
        plan_chunks(shape, parse("u8"))


@given(st.lists(st.integers(0, 40), max_size=5), st.sampled_from(["f32", "f16", "u8", "u4h"]))
def test_chunks_and_planes_are_counted_without_making_them(shape: list[int], label: str) -> None:
    plans = plan_chunks(shape, parse(label))
    assert chunk_count(shape, parse(label)) == len(plans)
    assert plane_count(shape, parse(label)) == sum(plan.n_elements // plan.plane_elements for plan in plans)


@given(st.integers(0, 300_000), st.sampled_from([1, 2, 4, 8]))
def test_raw_chunks_cover_the_elements_once(n_elements: int, item_bytes: int) -> None:
    plans = plan_raw(n_elements, item_bytes)
    assert raw_chunk_count(n_elements, item_bytes) == len(plans)
    assert [plan.first_element for plan in plans] == [0, *accumulate(plan.n_elements for plan in plans)][:-1]
    assert sum(plan.n_elements for plan in plans) == n_elements
    assert all(plan.n_elements * item_bytes <= 65_536 for plan in plans)
