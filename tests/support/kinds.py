"""One small network of each kind that README's table names, as a user's own `module:function` would make it."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim
from torch.nn.utils import prune

from splitd.calibration.images import Preprocessing

SIDE = 32


class Convolutions(nn.Module):
    """Three blocks that halve the sides, and a classifier."""

    def __init__(self, channels: int, widths: tuple[int, ...] = (8, 16, 16)) -> None:
        super().__init__()
        pairs = zip((channels, *widths), widths, strict=False)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.ReLU()) for a, b in pairs))
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x).mean((2, 3)))


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50_000, 16)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(2)))
        self.head = nn.Linear(16, 10)
        self.example_inputs = torch.zeros(1, 12, dtype=torch.int64)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.embed(tokens)).mean(1))


class Sound(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.Conv1d(a, b, 5, 4), nn.ReLU()) for a, b in ((1, 8), (8, 8))]
        self.blocks, self.head = nn.Sequential(*layers), nn.Linear(8, 10)
        self.example_inputs = torch.zeros(1, 800)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(sound.unsqueeze(1)).mean(2))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.place, self.head = Convolutions(3), nn.Embedding(7, 10), nn.Linear(10, 5)
        self.example_inputs = (torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, 2, dtype=torch.int64))

    def forward(self, image: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        return self.head(self.image(image) + self.place(place).mean(1))


class SeveralOutputs(Convolutions):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.blocks(x)
        scores = self.head(features.mean((2, 3)))
        return {"scores": scores, "best": scores.argmax(1), "features": features}


class DataDependentRows(nn.Module):
    """`boxes[mask]`: how many rows there are, the input's values decide."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        boxes = x.reshape(-1, 4)
        return boxes[boxes.amax(1) > 1.0]


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class FixedBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, -1)


class MixedSamples(Convolutions):
    """A softmax over the wrong dimension: every sample's answer depends on the others."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).softmax(0)


class KeepsState(Convolutions):
    def __init__(self) -> None:
        super().__init__(3)
        self.register_buffer("seen", torch.zeros(10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = super().forward(x)
        self.seen.add_(scores.sum(0))
        return scores + self.seen


class OneForAll(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean()


class Undeclared(nn.Module):
    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (image * mask).flatten(1)


def images() -> nn.Module:
    torch.manual_seed(0)
    module = Convolutions(3)
    module.preprocessing = Preprocessing.imagenet((3, SIDE, SIDE))
    return module


def grey() -> nn.Module:
    torch.manual_seed(0)
    module = Convolutions(1)
    module.preprocessing = Preprocessing((1, SIDE, SIDE), (0.13,), (0.31,))
    return module


def five_channels() -> nn.Module:
    torch.manual_seed(0)
    module = Convolutions(5)
    module.preprocessing = Preprocessing((5, SIDE, SIDE), (0.1, 0.2, 0.3, 0.4, 0.5), (0.2,) * 5)
    return module


def tensors() -> nn.Module:
    torch.manual_seed(0)
    module = Convolutions(3)
    module.example_inputs = torch.zeros(1, 3, SIDE, SIDE)
    return module


def tokens() -> nn.Module:
    torch.manual_seed(0)
    return Tokens()


def sound() -> nn.Module:
    torch.manual_seed(0)
    return Sound()


def two_inputs() -> nn.Module:
    torch.manual_seed(0)
    return TwoInputs()


def several_outputs() -> nn.Module:
    torch.manual_seed(0)
    module = SeveralOutputs(3)
    module.preprocessing = Preprocessing.imagenet((3, SIDE, SIDE))
    return module


def pruned() -> nn.Module:
    """Half of all weights are zero, for good."""
    module = images()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            prune.l1_unstructured(layer, "weight", amount=0.5)
            prune.remove(layer, "weight")
    return module


def pruned_channels() -> nn.Module:
    """The weakest channels of the middle block are taken out, and with them what the last block did with them."""
    full, thin = images(), Convolutions(3, (8, 10, 16))
    middle, last = full.blocks[1][0], full.blocks[2][0]
    kept = middle.weight.abs().sum((1, 2, 3)).topk(10).indices.sort().values
    state = full.state_dict()
    state["blocks.1.0.weight"], state["blocks.1.0.bias"] = middle.weight[kept], middle.bias[kept]
    state["blocks.2.0.weight"] = last.weight[:, kept]
    thin.load_state_dict(state)
    thin.preprocessing = full.preprocessing
    return thin


def dynamically_quantised() -> nn.Module:
    from torch.ao import quantization  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao announces its successor
        return quantization.quantize_dynamic(images().eval(), {nn.Linear}, dtype=torch.qint8)


class _Statically(nn.Module):
    def __init__(self, network: Convolutions) -> None:
        super().__init__()
        from torch.ao import quantization  # noqa: PLC0415

        self.quant, self.network, self.dequant = quantization.QuantStub(), network, quantization.DeQuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(self.network(self.quant(x)))


def statically_quantised() -> nn.Module:
    from torch.ao import quantization  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = _Statically(images()).eval()
        module.qconfig = quantization.get_default_qconfig("x86")
        pairs = [[f"network.blocks.{i}.0", f"network.blocks.{i}.1"] for i in range(3)]
        prepared = quantization.prepare(quantization.fuse_modules(module, pairs))
        prepared(torch.rand(16, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3)) * 4 - 2)
        converted = quantization.convert(prepared)
    converted.preprocessing = Preprocessing.imagenet((3, SIDE, SIDE))
    return converted


def save_program(module: nn.Module, path: Path, shape: tuple[int, ...], preprocessing: str | None = None) -> Path:
    """Export as a user would, for any batch size."""
    dynamic = ({0: Dim("batch", min=1, max=64)},)
    program = torch.export.export(module.eval(), (torch.zeros(2, *shape),), dynamic_shapes=dynamic)
    extra = None if preprocessing is None else {"preprocessing.json": preprocessing}
    torch.export.save(program, path, extra_files=extra)
    return path


def data_dependent_rows() -> nn.Module:
    return DataDependentRows()


def branching() -> nn.Module:
    return Branching()


def fixed_batch() -> nn.Module:
    return FixedBatch()


def mixed_samples() -> nn.Module:
    return MixedSamples(3)


def keeps_state() -> nn.Module:
    return KeepsState()


def one_for_all() -> nn.Module:
    return OneForAll()


def undeclared() -> nn.Module:
    return Undeclared()


def quantised_by_fx() -> nn.Module:
    from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = (torch.zeros(1, 3, SIDE, SIDE),)
        prepared = quantize_fx.prepare_fx(Convolutions(3).eval(), get_default_qconfig_mapping("x86"), example)
        prepared(torch.rand(4, 3, SIDE, SIDE))
        module = quantize_fx.convert_fx(prepared)
    module.example_inputs = example
    return module
