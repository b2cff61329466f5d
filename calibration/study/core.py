"""One core of this machine as a roofline sees it: its figures measured on single kernels, not fitted to any model.

Measured so on a core of an Intel Sapphire Rapids (AVX-512, torch 2.14): 220 GFLOPS in a matrix product, 0.83 of it in
dense convolutions, 0.09 in depthwise ones, 32 GB/s in elementwise kernels, 1.7 us for a kernel on nothing. With these
the roofline gives 70 to 80 % of the measured times of EfficientNet-B0, B1, V2-B0, V2-B1 and ResNet-18 (single kernels
find their inputs in the caches), and the shares before their compressive cuts to within 0.07 of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it

from splitd.calibration.profile import Floats, measure
from splitd.calibration.study.hardware import Hardware
from splitd.calibration.study.traffic import FLOAT32_BYTES

PASSES = 10
MATRIX_SIDE = 1024  # larger than the caches of a core, small enough for tens of milliseconds
EPSILON = 1e-5  # of a batch norm


class _Convolution(NamedTuple):
    inputs: int
    outputs: int
    kernel: int
    side: int
    stride: int = 1
    groups: int = 1


class _Kernel(NamedTuple):
    """One call to be timed, and its work: operations of a convolution, bytes read and written of an elementwise one."""

    call: Callable[[], object]
    work: int


# Shapes as EfficientNets and ResNets have them, from the first block to the last. One figure stands for all dense ones,
# so it is all their operations over all their time: a stem reaches half of what a 3 x 3 convolution in the middle does.
DENSE = (
    _Convolution(3, 32, 3, 224, stride=2),
    _Convolution(64, 64, 3, 56),
    _Convolution(32, 128, 3, 56),
    _Convolution(24, 144, 1, 56),
    _Convolution(144, 24, 1, 56),
    _Convolution(96, 384, 1, 14),
    _Convolution(384, 96, 1, 14),
    _Convolution(192, 1152, 1, 7),
    _Convolution(1152, 192, 1, 7),
)
# Depthwise ones differ more: 8 GFLOPS with a stride, 49 with a 5 x 5 kernel on the core above.
DEPTHWISE = (
    _Convolution(32, 32, 3, 112, groups=32),
    _Convolution(96, 96, 3, 112, stride=2, groups=96),
    _Convolution(144, 144, 3, 56, groups=144),
    _Convolution(240, 240, 5, 28, groups=240),
    _Convolution(480, 480, 3, 14, groups=480),
    _Convolution(672, 672, 5, 14, groups=672),
    _Convolution(672, 672, 5, 14, stride=2, groups=672),
    _Convolution(1152, 1152, 3, 7, groups=1152),
)
ELEMENTWISE = ((32, 112), (96, 112), (144, 56), (480, 14))  # channels, side
SQUEEZED = 8  # channels of the kernels that cost next to nothing but their start


class CoreBench:
    """The kernels, timed in several rounds with the current number of threads; the shortest time of each counts.

    What disturbs a run on a shared machine only ever adds to it, and it comes and goes within seconds: hence rounds.
    """

    def __init__(self) -> None:
        self._groups = (
            [_matrix_product()],
            [_convolution(one) for one in DENSE],
            [_convolution(one) for one in DEPTHWISE],
            [kernel for channels, side in ELEMENTWISE for kernel in _elementwise(channels, side)],
            [*_elementwise(SQUEEZED, 1), _convolution(_Convolution(SQUEEZED, SQUEEZED, kernel=1, side=1))],
        )
        self._shortest_s: list[Floats] = [np.full(len(group), np.inf) for group in self._groups]

    def run(self) -> None:
        """Time every kernel once more: a fifth of a second on a core of 200 GFLOPS."""
        with torch.inference_mode():
            for group, shortest_s in zip(self._groups, self._shortest_s, strict=True):
                round_s = [min(measure(kernel.call, repeats=PASSES).samples) for kernel in group]
                np.minimum(shortest_s, round_s, out=shortest_s)

    def hardware(self) -> Hardware:
        """Return the figures of the rounds so far, of which there must be one.

        The peak is the practical one: what a large float32 matrix product reaches.
        """
        overhead_s = float(self._shortest_s[-1].mean())
        peak, dense, depthwise, bandwidth = (
            _rate(group, shortest_s, overhead_s)
            for group, shortest_s in zip(self._groups[:-1], self._shortest_s[:-1], strict=True)
        )
        return Hardware(
            name="this core",
            peak_flops=peak,
            bandwidth_bytes_per_s=bandwidth,
            efficiency=min(1.0, dense / peak),
            depthwise_efficiency=min(1.0, depthwise / peak),
            kernel_overhead_s=overhead_s,
            source=f"measured on single kernels with torch {torch.__version__}",
        )


@contextmanager
def one_core() -> Iterator[None]:
    """Run torch on one thread, and treat subnormal numbers as zero: a trained network has next to none.

    Random weights make the activations of tf_efficientnetv2_b1 grow to 10^4 by its last block, and SiLU turns the large
    negative ones (below -87) into subnormals. Up to 3 % of them in the input of a 1 x 1 convolution slow it down 10 to
    25 times on Intel cores, where each costs a microcode assist: 67 ms an image against 26 on the core above, nearly
    all of the difference in the 1 x 1 convolutions of two stages. On an AMD EPYC the same weights did not show. Torch
    cannot tell whether they were flushed before; by default they are not, and that is what is put back.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def _rate(group: Sequence[_Kernel], shortest_s: Floats, overhead_s: float) -> float:
    """Return the work of all kernels over the time of all, per second, their fixed cost left out."""
    return float(sum(kernel.work for kernel in group) / (shortest_s - overhead_s).sum())


def _matrix_product() -> _Kernel:
    a, b = torch.ones(MATRIX_SIDE, MATRIX_SIDE), torch.ones(MATRIX_SIDE, MATRIX_SIDE)
    product = torch.empty(MATRIX_SIDE, MATRIX_SIDE)
    return _Kernel(lambda: torch.mm(a, b, out=product), 2 * MATRIX_SIDE**3)


def _convolution(shape: _Convolution) -> _Kernel:
    inputs = torch.ones(1, shape.inputs, shape.side, shape.side)
    weight = torch.ones(shape.outputs, shape.inputs // shape.groups, shape.kernel, shape.kernel)

    def call() -> torch.Tensor:
        return F.conv2d(inputs, weight, None, shape.stride, shape.kernel // 2, 1, shape.groups)

    return _Kernel(call, 2 * call().numel() * weight[0].numel())


def _elementwise(channels: int, side: int) -> list[_Kernel]:
    """Return what stands between two convolutions: batch norm, activation, squeeze-excite's product, residual sum."""
    x = torch.ones(1, channels, side, side)
    gate, ones = torch.ones(1, channels, 1, 1), torch.ones(channels)
    moved = FLOAT32_BYTES * x.numel()
    return [
        _Kernel(lambda: F.batch_norm(x, ones, ones, ones, ones, eps=EPSILON), 2 * moved),
        _Kernel(lambda: F.silu(x), 2 * moved),
        _Kernel(lambda: x * gate, 2 * moved),
        _Kernel(lambda: x + x, 3 * moved),
    ]
