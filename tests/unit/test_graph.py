"""The cuts of a graph: every EfficientNet's blocks as its own modules report them, and other architectures' blocks.

Everything runs on the meta device, which knows shapes only. The paper's fourteen models, with the counts of
docs/method.md, are in tests/integration/test_study_paper.py, where a study has exported them anyway. By default this
file takes one model of each further kind; `SPLITD_ALL_MODELS=1` covers timm's whole EfficientNet registry (minutes).
"""

from __future__ import annotations

import os

import pytest
import timm
import torch
from torch import nn

from splitd.calibration.model.blocks import assign_blocks
from splitd.calibration.model.graph import Graph, export_graph, find_cuts
from splitd.errors import ModelError
from tests.support.efficientnets import assert_cuts_are_blocks, block_shapes
from tests.support.meta_models import meta_graph, meta_model

# Both generations, then further kinds: padding by hand, EdgeTPU, Lite, group norm, blurred pooling, pruned channels,
# squeeze variants of V2.
EFFICIENTNETS = {
    "efficientnet_b0": 224,
    "tf_efficientnetv2_b0": 224,
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


def test_the_counts_of_a_small_model() -> None:
    """Those of docs/method.md."""
    cuts = find_cuts(meta_graph("efficientnet_b0", 224), "block")
    assert (len(cuts), sum(cut.natural for cut in cuts)) == (16, 15)
    assert [cut.ratio for cut in cuts if cut.compressive] == pytest.approx([0.5, 0.208, 0.104, 0.0625], abs=0.0006)


@pytest.mark.parametrize(("name", "size"), EFFICIENTNETS.items())
def test_the_blocks_of_an_efficientnet_are_its_blocks(name: str, size: int) -> None:
    cuts = find_cuts(meta_graph(name, size), "block")
    assert_cuts_are_blocks(cuts, block_shapes(meta_model(name), size), size)


@pytest.mark.parametrize(("name", "size", "blocks", "names"), OTHERS)
def test_the_blocks_of_other_architectures(name: str, size: int, blocks: int, names: tuple[str, ...]) -> None:
    cuts = find_cuts(meta_graph(name, size), "block")
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
