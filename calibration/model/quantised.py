"""Networks of torch.ao's quantised modules, made visible to torch.export.

Those modules keep their weights packed for one processor's kernels, as objects that an exported graph cannot hold. Here
each becomes a module of plain tensors: weights as the whole numbers that they are, with scale and zero point, and
activations rounded to the same steps as before, computed in float32. What was quantised stays quantised; an answer may
differ by a step of the last rounding, because the packed kernels add up whole numbers. A dynamically quantised layer
keeps its weights, and takes its activations as they are: their range would depend on the whole batch.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch
from torch import nn

from splitd.errors import ModelError

_LEAST, _MOST = -128, 127  # of quantised weights; torch.ao knows no others
_PACKAGE = "torch.ao.nn."
# Classes of torch.ao that run on float32 as well as on quantised numbers, or do nothing.
_HARMLESS = ("Dropout", "MaxPool2d", "Identity")


def unpacked(module: nn.Module) -> nn.Module:
    """Return the module with torch.ao's quantised parts replaced, in place; itself where there are none.

    Raises:
        ModelError: One of its quantised parts is of a kind that is not known here.
    """
    return _replaced(module, "")


def _replaced(module: nn.Module, path: str) -> nn.Module:
    kind = type(module)
    if kind.__module__.startswith(_PACKAGE) and "quantized" in kind.__module__ and kind.__name__ not in _HARMLESS:
        return _plain(module, path)
    for name, child in list(module.named_children()):
        setattr(module, name, _replaced(child, f"{path}.{name}".removeprefix(".")))
    return module


def _plain(module: Any, path: str) -> nn.Module:
    kind = type(module).__name__
    if kind == "Quantize":
        return _Rounded(float(module.scale), int(module.zero_point), module.dtype)
    if kind == "DeQuantize":
        return nn.Identity()
    if kind in {"Linear", "LinearReLU"}:
        return _PlainLinear(module, relu=kind.endswith("ReLU"))
    if kind in {"Conv1d", "ConvReLU1d", "Conv2d", "ConvReLU2d"} and module.padding_mode == "zeros":
        return _PlainConvolution(module, relu="ReLU" in kind)
    if kind == "QFunctional":
        return _PlainFunctional(_Rounded(float(module.scale), int(module.zero_point)))
    raise ModelError(
        f"{path or 'the network'} is a quantised {kind}, which splitd cannot take apart; "
        "quantise the network with torchao's pt2e instead and give the exported .pt2"
    )


def register_operators() -> None:
    """Register the operators of quantised graphs, which torch knows only once they were asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao announces its successor
        importlib.import_module("torch.ao.quantization.fx._decomposed")


class _Rounded(nn.Module):
    """Rounds to the steps of a quantised tensor, as float32."""

    def __init__(self, scale: float, zero_point: int, dtype: torch.dtype = torch.quint8) -> None:
        super().__init__()
        register_operators()
        signed = dtype == torch.qint8
        least, most = (_LEAST, _MOST) if signed else (0, 255)
        self._step = (scale, zero_point, least, most, torch.int8 if signed else torch.uint8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        operators = torch.ops.quantized_decomposed
        whole = operators.quantize_per_tensor.default(x, *self._step)
        rounded: torch.Tensor = operators.dequantize_per_tensor.default(whole, *self._step)
        return rounded


class _PlainLayer(nn.Module):
    """Whole-numbered weights with their steps, and the rounding of what comes out (none in a dynamic layer)."""

    def __init__(self, module: Any, *, relu: bool) -> None:
        super().__init__()
        weight, bias = module._weight_bias()  # noqa: SLF001 - torch has no public name for both at once
        per_channel = weight.qscheme() in {torch.per_channel_affine, torch.per_channel_affine_float_qparams}
        scales = weight.q_per_channel_scales() if per_channel else torch.full((len(weight),), weight.q_scale())
        zeros = weight.q_per_channel_zero_points() if per_channel else torch.full((len(weight),), weight.q_zero_point())
        self.register_buffer("whole", weight.int_repr())
        self.register_buffer("scales", scales.to(torch.float32))
        self.register_buffer("zero_points", zeros.to(torch.int64))
        self.bias: torch.Tensor | None
        self.register_buffer("bias", None if bias is None else bias.detach())
        dynamic = ".dynamic." in f"{type(module).__module__}."
        self.rounded = nn.Identity() if dynamic else _Rounded(float(module.scale), int(module.zero_point))
        self.relu = relu
        register_operators()

    def weight(self) -> torch.Tensor:
        """Return the weights as float32."""
        return torch.ops.quantized_decomposed.dequantize_per_channel.default(  # type: ignore[no-any-return]
            self.whole, self.scales, self.zero_points, 0, _LEAST, _MOST, torch.int8
        )

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """Do what comes after the product."""
        finished: torch.Tensor = self.rounded(x.relu() if self.relu else x)
        return finished


class _PlainLinear(_PlainLayer):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.finish(nn.functional.linear(x, self.weight(), self.bias))


class _PlainConvolution(_PlainLayer):
    def __init__(self, module: Any, *, relu: bool) -> None:
        super().__init__(module, relu=relu)
        self._geometry = (module.stride, module.padding, module.dilation, module.groups)
        self._convolve: Any = nn.functional.conv1d if "1d" in type(module).__name__ else nn.functional.conv2d

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.finish(self._convolve(x, self.weight(), self.bias, *self._geometry))


class _PlainFunctional(nn.Module):
    """Sums and products whose results are rounded, as `QFunctional` does them."""

    def __init__(self, rounded: _Rounded) -> None:
        super().__init__()
        self.rounded = rounded

    def add(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the rounded sum."""
        return self._finish(x + y)

    def add_relu(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the rounded sum, nothing below 0."""
        return self._finish((x + y).relu())

    def mul(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the rounded product."""
        return self._finish(x * y)

    def cat(self, parts: list[torch.Tensor], dim: int = 0) -> torch.Tensor:
        """Return the parts, joined and rounded."""
        return self._finish(torch.cat(parts, dim))

    def _finish(self, x: torch.Tensor) -> torch.Tensor:
        finished: torch.Tensor = self.rounded(x)
        return finished
