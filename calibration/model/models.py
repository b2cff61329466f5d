"""Loads the model that a configuration names, and its digest.

Both ends load the model themselves; before any tensor crosses they compare digests, which cover the graph, the weights
and the preprocessing, and depend on neither machine nor process.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from splitd.calibration.images import Preprocessing
from splitd.calibration.model.digest import model_digest
from splitd.calibration.model.graph import Graph, export_graph
from splitd.calibration.model.sources import Source, open_source
from splitd.calibration.model.weights import PRETRAINED, load_file_into, parse_seed, randomise

__all__ = ["LoadedModel", "ModelSpec", "Preprocessing", "load_model"]


@dataclass(frozen=True)
class ModelSpec:
    """What a configuration says about a model.

    `name` is a timm name, the path of an exported program (`.pt2`), or `module:function` with a function that returns
    an `nn.Module`. `weights` is `random:SEED`, `pretrained`, or the path of a safetensors file or a torch checkpoint.
    A `.pt2` and a function bring their own weights unless a path is given (the function is called under that seed).
    `image_size` is the side of the square input in pixels; None means the model's own evaluation size.
    """

    name: str
    weights: str = "random:0"
    image_size: int | None = None


@dataclass(frozen=True)
class LoadedModel:
    """A model in float32 and eval mode on one device, its graph, and its identity (32 hex digits)."""

    spec: ModelSpec
    module: nn.Module
    graph: Graph
    preprocessing: Preprocessing
    digest: str


def load_model(spec: ModelSpec, device: str | torch.device = "cpu") -> LoadedModel:
    """Load, export and identify a model.

    Raises:
        ModelError: unknown name, missing or unfitting weights, weights that cannot be fetched, or a model that cannot
            be exported; the message names the way out.
    """
    seed = parse_seed(spec.weights)
    pretrained = spec.weights == PRETRAINED
    source = open_source(spec.name, image_size=spec.image_size, pretrained=pretrained, seed=seed)
    if seed is not None and source.randomisable:
        randomise(source.module, seed)
    elif seed is None and not pretrained:
        load_file_into(source.tensors(), Path(spec.weights))
    module, graph = _export(source, torch.device(device))
    return LoadedModel(spec, module, graph, source.preprocessing, model_digest(graph, source.preprocessing))


def _export(source: Source, device: torch.device) -> tuple[nn.Module, Graph]:
    if source.program is not None:
        program = source.program if device.type == "cpu" else move_to_device_pass(source.program, device)
        return program.module().requires_grad_(False), Graph(program)
    module = source.module.to(device, torch.float32).eval().requires_grad_(False)
    return module, export_graph(module, source.preprocessing.size)
