"""A chain's description comes from strangers: it survives JSON, and nothing else is taken for one."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from splitd.calibration.chain import ChainDescription, CutFacts, TensorSpec
from splitd.calibration.images import Preprocessing
from splitd.errors import ModelError

CHAIN = ChainDescription(
    digest="a" * 32,
    model="a network",
    names=("input", "block", "output"),
    cuts=(CutFacts(12, 1.0, False, False), CutFacts(6, 0.5, True, True), CutFacts(0, 0.0, False, False)),
    crossing=(
        (TensorSpec((1, 3, 2, 2)),),
        (TensorSpec((64, 2), 0), TensorSpec((3,), None, "int64")),
        (TensorSpec((1, 10)),),
    ),
    head_share=(0.0, 0.25, 1.0),
    preprocessing=Preprocessing((3, 2, 2), (0.1, 0.2, -0.3), (1.0, 1.0, 2.0)),
    labels=("cat", "dog"),
)


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(CHAIN.to_json()))
    return found


def test_a_description_survives_json() -> None:
    assert ChainDescription.from_json(document()) == CHAIN
    bare = {**document(), "preprocessing": None, "labels": None}
    assert ChainDescription.from_json(bare).preprocessing is None


def test_shapes_grow_with_the_batch_along_one_axis() -> None:
    assert CHAIN.batch_shapes(1, 3) == ((192, 2), (3,))
    assert CHAIN.input.per_sample == (3, 2, 2)
    assert CHAIN.crossing[1][0].per_sample == (64, 2)
    assert CHAIN.last == 2


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("names",), ["input", "output"]),
        (("names",), "input"),
        (("names", 0), "a\nb"),
        (("crossing",), []),
        (("crossing", 0), []),
        (("crossing", 0), [{}] * 1000),
        (("crossing", 0, 0, "fixed"), [0]),
        (("crossing", 0, 0, "fixed"), [1 << 31, 1 << 31]),
        (("crossing", 0, 0, "fixed"), [1] * 100),
        (("crossing", 0, 0, "axis"), 9),
        (("crossing", 0, 0, "dtype"), "object"),
        (("cuts", 0, "natural"), 1),
        (("cuts", 0, "ratio"), math.nan),
        (("head_share", 1), 2.0),
        (("preprocessing", "mean"), [1, 2]),
        (("preprocessing", "mean", 0), math.inf),
        (("preprocessing", "interpolation"), "magic"),
        (("labels", 0), 7),
        (("digest",), None),
    ],
)
def test_a_hostile_description_is_refused(place: tuple[Any, ...], value: Any) -> None:
    hostile = document()
    inner: Any = hostile
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    with pytest.raises(ModelError):
        ChainDescription.from_json(hostile)


@pytest.mark.parametrize("hostile", [None, [], "chain", {}])
def test_what_is_no_description_is_refused(hostile: object) -> None:
    with pytest.raises(ModelError):
        ChainDescription.from_json(hostile)
