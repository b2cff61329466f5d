"""A cut model computes what the uncut one does, bit for bit, over one set of weights."""

from __future__ import annotations

import gc
import weakref
from functools import cache

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from splitd.calibration.model.graph import Cut, export_graph, find_cuts
from splitd.calibration.model.models import LoadedModel, ModelSpec, load_model
from splitd.calibration.torch_chain.partition import Partition
from splitd.errors import ModelError, UsageError

# At small images and, where the family's smallest is deep, in a smaller copy, so that every cut can be run:
# EfficientNet with and without padding by hand, residual, hard-swish, LayerNorm, attention, many live tensors, shifted
# windows.
DENSENET = ModelSpec("tests.support.small_models:densenet", image_size=64)
SWIN = ModelSpec("tests.support.small_models:swin", image_size=56)
MODELS = [
    ModelSpec("efficientnet_b0", image_size=64),
    ModelSpec("tf_efficientnetv2_b0", image_size=64),
    ModelSpec("resnet18", image_size=64),
    ModelSpec("mobilenetv3_small_050", image_size=64),
    ModelSpec("convnext_atto", image_size=64),
    ModelSpec("tests.support.small_models:vit", image_size=64),
    DENSENET,
    SWIN,
]
by_model = pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def loaded(spec: ModelSpec) -> LoadedModel:
    return load_model(spec)


@cache
def block_partition(spec: ModelSpec) -> Partition:
    return Partition(loaded(spec), find_cuts(loaded(spec).graph, "block"))


def images(spec: ModelSpec, batch: int) -> torch.Tensor:
    return torch.randn(batch, *loaded(spec).graph.image_shape, generator=torch.Generator().manual_seed(batch))


@by_model
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_every_block_cut_gives_the_bits_of_the_unsplit_model(spec: ModelSpec, batch: int) -> None:
    partition, x = block_partition(spec), images(spec, batch)
    with torch.inference_mode():
        expected = loaded(spec).module(x)
    live: tuple[torch.Tensor, ...] = (x,)
    for k in range(partition.K + 1):
        assert [tuple(tensor.shape) for tensor in live] == list(partition.batch_shapes(k, batch))
        (output,) = partition.tail(k, live)
        assert torch.equal(output, expected), partition.names[k]
        live = partition.segment(k, live) if k < partition.K else live
    assert torch.equal(partition.head(partition.K, x)[0], expected)
    assert torch.isfinite(expected).all()
    assert expected.std() > 0


@by_model
def test_every_operator_cut_gives_the_bits_of_the_unsplit_model(spec: ModelSpec) -> None:
    model, x = loaded(spec), images(spec, 2)
    partition = Partition(model, find_cuts(model.graph, "op"))
    with torch.inference_mode():
        expected = model.module(x)
    live: tuple[torch.Tensor, ...] = (x,)
    for k in range(partition.K):
        live = partition.segment(k, [tensor.clone() for tensor in live])  # as if each had crossed the link
        if k % (partition.K // 5) == 0:
            assert torch.equal(partition.tail(k + 1, live)[0], expected), partition.names[k + 1]
    assert torch.equal(live[0], expected)


def test_some_of_these_cuts_have_several_live_tensors() -> None:
    assert max(len(cut.shapes) for cut in block_partition(DENSENET).cuts) > 10
    assert max(len(cut.shapes) for cut in find_cuts(loaded(SWIN).graph, "op")) > 2


@by_model
def test_the_weights_exist_once(spec: ModelSpec) -> None:
    model = loaded(spec)
    own = {tensor.data_ptr() for tensor in (*model.module.parameters(), *model.module.buffers())}
    segments = block_partition(spec).segments
    used = [tensor for segment in segments for tensor in (*segment.parameters(), *segment.buffers())]
    assert used
    constants = {tensor.data_ptr() for tensor in model.graph.program.constants.values()}
    assert {tensor.data_ptr() for tensor in used} <= own | constants


@by_model
def test_a_tail_leaves_what_it_was_given_as_it_was(spec: ModelSpec) -> None:
    """The device finishes from the activation it kept, so no operator may write to it."""
    model, x = loaded(spec), images(spec, 2)
    cuts = find_cuts(model.graph, "op")[:12]
    partition = Partition(model, cuts)
    for k in range(partition.K + 1):
        live = partition.head(k, x)
        kept = [tensor.clone() for tensor in live]
        partition.tail(k, live)
        assert all(torch.equal(a, b) for a, b in zip(live, kept, strict=True)), partition.names[k]


class InPlace(nn.Module):
    """Overwrites a value that is used again later, and one through a view."""

    def __init__(self, *, through_view: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.through_view = through_view

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv(x)
        if self.through_view:
            h[:, 0] += 1
        y = torch.relu_(h)
        return (h * 2 + y).flatten(1)


@pytest.mark.parametrize("through_view", [False, True])
def test_in_place_operators_are_cut_correctly(*, through_view: bool) -> None:
    module = InPlace(through_view=through_view).eval().requires_grad_(False)
    graph = export_graph(module, (3, 5, 5))
    partition = Partition(graph, find_cuts(graph, "op"))
    x = torch.randn(3, 3, 5, 5)
    assert partition.K >= 3
    for k in range(partition.K + 1):
        live = partition.head(k, x)
        for _ in range(2):
            assert torch.equal(partition.tail(k, live)[0], module(x)), partition.names[k]


class AliveWatcher(TorchDispatchMode):
    """Counts how many convolution results are alive at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[weakref.ref[torch.Tensor]] = []
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        del types
        result = func(*args, **(kwargs or {}))
        if "conv" in str(func):
            self.results.append(weakref.ref(result))
        self.most = max(self.most, sum(ref() is not None for ref in self.results))
        return result


@pytest.mark.parametrize("granularity", ["block", "op"])
def test_intermediate_values_are_freed_as_soon_as_they_are_dead(granularity: str) -> None:
    module = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(12))).eval().requires_grad_(False)
    graph = export_graph(module, (3, 8, 8))
    cuts = find_cuts(graph, granularity)[:: 3 if granularity == "block" else 1]
    partition = Partition(graph, cuts)
    x = torch.zeros(2, 3, 8, 8)
    gc.collect()
    with AliveWatcher() as watcher:
        partition.tail(0, (x,))
    assert len(watcher.results) == 12
    assert watcher.most == 2  # the operator's input and its output


def test_names_and_shapes_of_a_chain() -> None:
    spec = MODELS[0]
    cuts = [cut for cut in find_cuts(loaded(spec).graph, "block") if cut.compressive]
    partition = Partition(loaded(spec), cuts)
    assert partition.names == ("input", "blocks.1.0", "blocks.2.0", "blocks.3.0", "blocks.5.0", "output")
    assert partition.K == len(partition.segments) == 5
    assert partition.shapes(0) == ((3, 64, 64),)
    assert partition.shapes(1) == ((24, 16, 16),)
    assert partition.output_shapes == ((1000,),)
    assert partition.batch_shapes(1, 7) == ((7, 24, 16, 16),)
    partition.verify(images(spec, 2))


def test_a_partition_without_cuts_is_the_model() -> None:
    spec = MODELS[2]
    partition = Partition(loaded(spec), ())
    assert partition.names == ("input", "output")
    partition.verify(images(spec, 1))


def test_verify_finds_a_cut_that_changes_the_result() -> None:
    spec = ModelSpec("resnet18", image_size=64)
    partition = Partition(loaded(spec), block_partition(spec).cuts)
    partition.verify(images(spec, 1))
    first, right, *others = partition.segments
    partition.segments = (first, lambda live: [value * 1.0001 for value in right(live)], *others)
    with pytest.raises(ModelError, match="changes the result"):
        partition.verify(images(spec, 1))


def test_cuts_in_another_order_are_refused() -> None:
    cuts: tuple[Cut, ...] = find_cuts(loaded(MODELS[0]).graph, "block")
    with pytest.raises(UsageError, match="execution order"):
        Partition(loaded(MODELS[0]), cuts[::-1])
    with pytest.raises(UsageError, match="execution order"):
        Partition(loaded(MODELS[0]), (cuts[0], cuts[0]))
