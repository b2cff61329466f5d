"""Settles a model's weights: random ones that are the same on every machine, or those of a file."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from splitd.errors import ModelError

RANDOM_PREFIX = "random:"
PRETRAINED = "pretrained"
# Where training scripts put the state dict inside a checkpoint, most wanted first.
_CHECKPOINT_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
_LISTED_PROBLEMS = 3


def parse_seed(weights: str) -> int | None:
    """Return SEED of `random:SEED`, None for other kinds of weights; ModelError if SEED is not a natural number."""
    if not weights.startswith(RANDOM_PREFIX):
        return None
    seed = weights.removeprefix(RANDOM_PREFIX)
    if not seed.isdecimal():
        raise ModelError(f"weights: {weights} must be random:SEED with a whole number SEED")
    return int(seed)


def randomise(module: nn.Module, seed: int) -> None:
    """Draw every weight matrix and kernel anew, uniform with variance 2 / fan_in (He et al., arXiv 1502.01852).

    Torch's own generators give other bits on other processors. Here only exactly defined operations are used: integers
    from a counter-based generator, scaled by a power of two and one float32 multiplication. Vectors (biases, norms)
    keep the constants that the model sets.
    """
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1 and parameter.is_floating_point():
            stream = np.random.Philox(key=[seed, zlib.crc32(name.encode())])
            bits = np.random.Generator(stream).integers(0, 1 << 24, size=parameter.numel(), dtype=np.int32)
            bound = np.float32(math.sqrt(6 / math.prod(parameter.shape[1:])))
            values = (bits.astype(np.float32) * np.float32(2**-23) - np.float32(1)) * bound
            parameter.data.copy_(torch.from_numpy(values).reshape(parameter.shape))


def load_file_into(targets: Mapping[str, torch.Tensor], path: Path) -> None:
    """Copy the tensors of a safetensors file or a torch checkpoint into `targets`.

    Raises:
        ModelError: the file is missing or damaged, or its names and shapes are not exactly those of the targets.
    """
    values = _read_checkpoint(path)
    problems = _mismatches(targets, values)
    if problems:
        more = f" and {len(problems) - _LISTED_PROBLEMS} more" if len(problems) > _LISTED_PROBLEMS else ""
        raise ModelError(f"{path} does not fit the model: {'; '.join(problems[:_LISTED_PROBLEMS])}{more}")
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(values[name])


def _read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise ModelError(f"weights: there is no file {path} (give random:SEED, pretrained, or a path)")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ModelError(f"{path} cannot be read as weights: {error}") from error
    except Exception as error:
        if type(error).__name__ == "UnpicklingError":  # its module is banned here, and rightly
            raise ModelError(f"{path} holds more than tensors, so it is not read: save a state dict only") from error
        raise
    return _unwrap(path, content)


def _unwrap(path: Path, content: object) -> dict[str, torch.Tensor]:
    for key in _CHECKPOINT_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ModelError(f"{path} holds no state dict")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _mismatches(targets: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> list[str]:
    missing = [f"{name} is missing" for name in targets if name not in values]
    foreign = [f"{name} is not in the model" for name in values if name not in targets]
    shapes = [
        f"{name} has shape {tuple(values[name].shape)}, the model's has {tuple(target.shape)}"
        for name, target in targets.items()
        if name in values and values[name].shape != target.shape
    ]
    return shapes + missing + foreign
