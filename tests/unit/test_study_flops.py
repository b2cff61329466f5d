"""Counted on the graph, agrees with torch's own counter on the running model."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from splitd.calibration.model.graph import export_graph, find_cuts
from splitd.calibration.study.flops import HANDLERS, arithmetic_of
from splitd.calibration.study.traffic import count_kernels
from tests.support.meta_models import meta_graph, meta_model

aten = torch.ops.aten
ATTENTION = aten.scaled_dot_product_attention.default

IMAGE = (3, 224, 224)
ARCHITECTURES = (
    "efficientnet_b0",
    "tf_efficientnetv2_b0",
    "resnet18",
    "mobilenetv3_small_100",
    "convnext_atto",
    "regnetx_002",
    "vit_tiny_patch16_224",
    "mixer_s32_224",
)


def torch_counts(module: nn.Module, shape: tuple[int, int, int]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(1, *shape, device="meta"))
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_flops_agree_with_torch(name: str) -> None:
    assert count_kernels(meta_graph(name, 224)).total_flops == torch_counts(meta_model(name), IMAGE)


def test_every_parameter_is_read_once() -> None:
    module, table = meta_model("efficientnet_b0"), count_kernels(meta_graph("efficientnet_b0", 224))
    running_statistics = sum(b.numel() for n, b in module.named_buffers() if "running" in n)
    assert table.weight_bytes.sum() == 4 * (sum(p.numel() for p in module.parameters()) + running_statistics)


class Shapely(nn.Module):
    """One convolution, then views that start no kernel, then an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.dropout(self.convolution(x)).permute(0, 2, 3, 1).unsqueeze(1)
        return y + y


def test_views_and_inactive_dropout_start_no_kernel() -> None:
    table = count_kernels(export_graph(Shapely().eval().to("meta"), (8, 4, 4)))
    values = 8 * 4 * 4
    assert table.flops.tolist() == [2 * values * 9, 0]
    assert table.depthwise.tolist() == [True, False]
    assert table.activation_bytes.tolist() == [4 * 2 * values, 4 * 2 * values]
    assert table.weight_bytes.tolist() == [4 * 8 * 9, 0]


@pytest.mark.parametrize(
    ("target", "args", "output", "flops"),
    [
        (aten.bmm.default, ((5, 3, 4), (5, 4, 2)), (5, 3, 2), 2 * 5 * 3 * 4 * 2),
        (aten.matmul.default, ((5, 3, 4), (4, 2)), (5, 3, 2), 2 * 5 * 3 * 4 * 2),
        (aten.addmm.default, ((2,), (3, 4), (4, 2)), (3, 2), 2 * 3 * 4 * 2),
        (aten.linear.default, ((3, 4), (2, 4)), (3, 2), 2 * 3 * 4 * 2),
        (aten.einsum.default, ("bij,bjk->bik", ((5, 3, 4), (5, 4, 2))), (5, 3, 2), 2 * 5 * 3 * 4 * 2),
        (aten.einsum.default, ("b...->b", ((5, 3),)), (5,), 0),
        (
            ATTENTION,
            ((1, 2, 7, 4), (1, 2, 6, 4), (1, 2, 6, 3)),
            (1, 2, 7, 3),
            2 * 2 * 7 * 6 * 7,
        ),
        (aten.convolution.default, ((1, 4, 5, 5), (4, 2, 3, 3), None, 1, 0, 1, True), (1, 2, 7, 7), 2 * 100 * 2 * 9),
        (aten.convolution.default, ((1, 4, 5, 5), (6, 4, 3, 3), None, 1, 0, 1, False), (1, 6, 3, 3), 2 * 54 * 4 * 9),
        (aten.silu.default, ((3, 4),), (3, 4), 0),
    ],
)
def test_handlers(target: object, args: tuple[object, ...], output: tuple[int, ...], flops: int) -> None:
    assert arithmetic_of(target, args, output).flops == flops


def test_only_reductions_of_products_are_registered() -> None:
    assert {str(packet).removeprefix("aten.") for packet in HANDLERS} >= {"conv2d", "linear", "bmm", "matmul"}
    assert aten.relu not in HANDLERS


def test_the_head_of_a_cut_has_the_kernels_up_to_it() -> None:
    graph = meta_graph("resnet18", 224)
    table = count_kernels(graph)
    cut = next(cut for cut in find_cuts(graph, "block") if cut.name == "layer1.0")
    # stem: convolution, norm, relu, max pool; block: twice convolution, norm, relu, and the addition
    assert table.kernels_up_to(cut.node_index) == 4 + 7
    assert table.kernels_up_to(-1) == 0
