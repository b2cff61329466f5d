"""The cuts of a graph: the paper's counts exactly, and every EfficientNet's blocks as its own modules report them.

Everything runs on the meta device, which knows shapes only. `SPLITD_ALL_MODELS=1` covers timm's whole EfficientNet
registry (76 models, minutes); the default is the paper's fourteen and one of each further kind.
"""

from __future__ import annotations

import math
import os

import pytest
import timm
import torch
from torch import nn

from splitd.calibration.blocks import assign_blocks
from splitd.calibration.graph import Graph, export_graph, find_cuts
from splitd.errors import ModelError

# model, image size, blocks, natural, compressive c_l: the reference counts of docs/method.md.
PAPER_COUNTS = [
    ("efficientnet_b0", 224, 16, 15, (0.5, 0.208, 0.104, 0.0625)),
    ("efficientnet_b4", 380, 32, 30, (0.667, 0.298, 0.149, 0.090)),
    ("tf_efficientnetv2_s", 384, 40, 34, (0.333, 0.167, 0.083)),
    ("tf_efficientnetv2_l", 480, 79, 68, (0.5, 0.25, 0.125)),
]
# The other ten of the paper's fourteen, then further kinds: padding by hand, EdgeTPU, Lite, mixture of experts, group
# norm, pruned channels, blurred pooling, squeeze variants of V2.
EFFICIENTNETS = {
    "efficientnet_b1": 240,
    "efficientnet_b2": 260,
    "efficientnet_b3": 300,
    "efficientnet_b5": 456,
    "efficientnet_b6": 528,
    "tf_efficientnetv2_b0": 224,
    "tf_efficientnetv2_b1": 240,
    "tf_efficientnetv2_b2": 260,
    "tf_efficientnetv2_b3": 300,
    "tf_efficientnetv2_m": 480,
    "tf_efficientnet_b0": 224,
    "tf_efficientnet_es": 224,
    "tf_efficientnet_lite0": 224,
    "efficientnet_b0_gn": 224,
    "efficientnet_blur_b0": 224,
    "efficientnet_b1_pruned": 240,
    "efficientnetv2_rw_t": 224,
    "test_efficientnet": 160,
}
if os.environ.get("SPLITD_ALL_MODELS") == "1":
    EFFICIENTNETS = {name: timm.get_pretrained_cfg(name).input_size[1] for name in timm.list_models("*efficientnet*")}

# model, image size, blocks, some of their names
OTHERS = [
    ("resnet18", 224, 8, ("layer1.0", "layer4.1")),
    ("mobilenetv3_small_100", 224, 12, ("blocks.0.0", "blocks.5.0")),
    ("densenet121", 224, 58 + 3, ("features.denseblock1.denselayer1", "features.transition3")),
    ("convnext_atto", 224, 12 + 3, ("stages.0.blocks.0", "stages.1.downsample")),
    ("vit_tiny_patch16_224", 224, 12, ("blocks.0", "blocks.11")),
    ("swin_tiny_patch4_window7_224", 224, 12 + 3, ("layers.0.blocks.1", "layers.1.downsample")),
    ("vgg11", 224, 21, ("features.0", "features.20")),
    ("regnetx_002", 224, 13, ("s1.b1", "s4.b7")),
]


def meta_model(name: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name).eval().requires_grad_(False)


def block_shapes(module: nn.Module, size: int) -> dict[str, tuple[int, ...]]:
    """What `model.blocks[i][j]` return, per sample, as the modules themselves report it."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, output: torch.Tensor) -> None:
        shapes[name] = tuple(output.shape[1:])

    handles = [
        block.register_forward_hook(lambda _m, _i, output, name=f"blocks.{i}.{j}": note(name, output))
        for i, stage in enumerate(module.blocks)
        for j, block in enumerate(stage)
    ]
    with torch.inference_mode():
        module(torch.zeros(1, 3, size, size, device="meta"))
    for handle in handles:
        handle.remove()
    return shapes


@pytest.mark.parametrize(("name", "size", "blocks", "natural", "ratios"), PAPER_COUNTS)
def test_the_papers_counts(name: str, size: int, blocks: int, natural: int, ratios: tuple[float, ...]) -> None:
    cuts = find_cuts(export_graph(meta_model(name), (3, size, size)), "block")
    assert len(cuts) == blocks
    assert sum(cut.natural for cut in cuts) == natural
    assert [cut.ratio for cut in cuts if cut.compressive] == pytest.approx(ratios, abs=0.0006)


@pytest.mark.parametrize(("name", "size"), EFFICIENTNETS.items())
def test_the_blocks_of_an_efficientnet_are_its_blocks(name: str, size: int) -> None:
    module = meta_model(name)
    expected = block_shapes(module, size)
    cuts = find_cuts(export_graph(module, (3, size, size)), "block")
    assert {cut.name: cut.shapes for cut in cuts} == {block: (shape,) for block, shape in expected.items()}
    assert [cut.name for cut in cuts] == list(expected)
    lowest = 3 * size * size
    for cut, shape in zip(cuts, expected.values(), strict=True):
        elements = math.prod(shape)
        assert (cut.elements, cut.bytes_f32, cut.ratio) == (elements, 4 * elements, elements / (3 * size * size))
        assert cut.natural == (elements < 3 * size * size)
        assert cut.compressive == (elements < lowest)
        lowest = min(lowest, elements)


@pytest.mark.parametrize(("name", "size", "blocks", "names"), OTHERS)
def test_the_blocks_of_other_architectures(name: str, size: int, blocks: int, names: tuple[str, ...]) -> None:
    cuts = find_cuts(export_graph(meta_model(name), (3, size, size)), "block")
    assert len(cuts) == blocks
    assert set(names) <= {cut.name for cut in cuts}
    assert all(cut.module == cut.name for cut in cuts)


def test_a_series_inside_a_block_belongs_to_the_block() -> None:
    stack = [("", "Root"), ("layer1", "Sequential"), ("layer1.0", "Bottleneck"), ("layer1.0.downsample.0", "Conv2d")]
    other = [("", "Root"), ("layer1", "Sequential"), ("layer1.1", "Bottleneck")]
    stem = [("", "Root"), ("conv1", "Conv2d")]
    assert assign_blocks([stem, stack, other]) == [None, "layer1.0", "layer1.1"]


def test_a_model_without_series_is_cut_after_the_children_of_its_root() -> None:
    containers = "torch.nn.modules.container.Sequential"
    stacks = [
        [("", "Root"), ("stem", containers), ("stem.0", "Conv2d")],
        [("", "Root"), ("stem", containers), ("stem.1", "ReLU")],
        [("", "Root"), ("body", "Body"), ("body.conv", "Conv2d")],
        [("", "Root")],
    ]
    assert assign_blocks(stacks) == ["stem.0", "stem.1", "body", None]


class Joined(nn.Module):
    """Two branches and a skip connection of the input: one, two and three values are live in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 2, 1)
        self.right = nn.Conv2d(3, 5, 2, stride=2)
        self.bias = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.left(x), self.right(x)
        return left.sum((1, 2, 3)) + right.sum((1, 2, 3)) + x.sum((1, 2, 3)) + self.bias.exp()


@pytest.fixture(scope="module")
def joined() -> Graph:
    return export_graph(Joined().eval().requires_grad_(False), (3, 4, 4))


def test_everything_that_is_used_later_is_live(joined: Graph) -> None:
    first, second, *_ = find_cuts(joined, "op")
    assert first.shapes == ((3, 4, 4), (2, 4, 4))
    assert second.shapes == ((3, 4, 4), (2, 4, 4), (5, 2, 2))
    assert second.elements == 48 + 32 + 20
    assert second.ratio == 100 / 48
    assert not second.natural


def test_what_does_not_depend_on_the_input_never_crosses(joined: Graph) -> None:
    assert not [cut for cut in find_cuts(joined, "op") if "exp" in cut.name]
    assert all((1,) not in cut.shapes for cut in find_cuts(joined, "op"))


def test_the_end_of_the_model_is_no_cut(joined: Graph) -> None:
    assert find_cuts(joined, "op")[-1].node_index == len(joined.steps) - 2


class ReturnsANumber(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        return x * 2, 3


def test_a_model_that_returns_more_than_tensors_is_refused() -> None:
    with pytest.raises(ModelError, match="tensors only"):
        export_graph(ReturnsANumber(), (3, 4, 4))
