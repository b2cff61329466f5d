"""Real block outputs to measure codecs on: timm models with random weights whose batch norms have seen images.

With the statistics a model is born with, activations explode or vanish from block to block. After a few batches of
image-like input in training mode every channel has zero mean and unit variance before its scale, as in a trained net.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import timm
import torch

BATCHES = (1, 8)
CALIBRATION_BATCHES = 2


@dataclass(frozen=True)
class Source:
    """A model, its image size, and the modules whose outputs are taken: early, middle, late."""

    model: str
    image_size: int
    modules: tuple[str, str, str]


SOURCES = (
    Source("efficientnet_b0", 224, ("blocks.1.1", "blocks.3.2", "blocks.6.0")),
    Source("tf_efficientnetv2_s", 384, ("blocks.1.3", "blocks.3.5", "blocks.5.14")),
    Source("resnet50", 224, ("layer1.2", "layer3.5", "layer4.2")),
)


@dataclass(frozen=True)
class Activation:
    """One tensor and where it comes from."""

    model: str
    module: str
    depth: str
    batch: int
    values: npt.NDArray[np.float32]

    @property
    def name(self) -> str:
        """For the table's rows."""
        return f"{self.model} {self.module} x{self.batch}"


def images(count: int, size: int, seed: int) -> torch.Tensor:
    """Images with a 1/f spectrum, as photographs have, normalised; (count, 3, size, size)."""
    rng = np.random.default_rng(seed)
    fx, fy = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size))
    amplitude = 1 / np.maximum(np.hypot(fx, fy), 1 / size)
    grey = rng.standard_normal((count, 1, size, size))
    colour = rng.standard_normal((count, 3, size, size)) * 0.3
    shaped = np.fft.ifft2(np.fft.fft2(grey + colour) * amplitude).real
    return torch.from_numpy((shaped / shaped.std(axis=(1, 2, 3), keepdims=True)).astype(np.float32))


@lru_cache
def calibrated(model: str, image_size: int) -> torch.nn.Module:
    """The model in evaluation mode, with running statistics over image-like batches."""
    torch.manual_seed(0)
    net: torch.nn.Module = timm.create_model(model, pretrained=False)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    net.train()
    with torch.no_grad():
        for seed in range(CALIBRATION_BATCHES):
            net(images(8, image_size, seed))
    return net.eval()


def block_outputs(source: Source, batch: int) -> list[Activation]:
    """Early, middle and late output for one batch."""
    net, found = calibrated(source.model, source.image_size), dict[str, Any]()
    hooks = [
        net.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: found.__setitem__(name, output)
        )
        for name in source.modules
    ]
    with torch.no_grad():
        net(images(batch, source.image_size, 99))
    for hook in hooks:
        hook.remove()
    return [
        Activation(source.model, name, depth, batch, np.ascontiguousarray(found[name].numpy()))
        for name, depth in zip(source.modules, ("early", "middle", "late"), strict=True)
    ]


def activations(sources: tuple[Source, ...] = SOURCES, batches: tuple[int, ...] = BATCHES) -> list[Activation]:
    """All of them."""
    return [output for source in sources for batch in batches for output in block_outputs(source, batch)]
