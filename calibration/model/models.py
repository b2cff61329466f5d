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

from splitd.calibration.images import Preprocessing, PreprocessingChoice
from splitd.calibration.model.digest import model_digest
from splitd.calibration.model.failures import explained
from splitd.calibration.model.graph import Graph, export_graph
from splitd.calibration.model.inputs import EXAMPLE_INPUTS, InputPart, packed_module, packed_shape
from splitd.calibration.model.own_models import Source
from splitd.calibration.model.proof import prove_batch
from splitd.calibration.model.sources import open_source
from splitd.calibration.model.weights import PRETRAINED, load_file_into, parse_seed, randomise
from splitd.errors import ModelError


@dataclass(frozen=True)
class ModelSpec:
    """What a configuration says about a model.

    `name` is a timm name, the path of an exported program (`.pt2`), or `module:function` with a function that returns
    an `nn.Module`. `weights` is `random:SEED`, `pretrained`, or the path of a safetensors file or a torch checkpoint.
    A `.pt2` and a function bring their own weights unless a path is given (the function is called under that seed).
    `image_size` is the side of the square input in pixels; None means the model's own evaluation size.
    `preprocessing` stands above what the model brings. A module of the user's own brings some in its attribute
    `preprocessing`, a `.pt2` in its extra file `preprocessing.json`; without either there is none, and prepared tensors
    are all that is taken. What such a module takes besides one image of three channels, it says in `example_inputs`.
    """

    name: str
    weights: str = "random:0"
    image_size: int | None = None
    preprocessing: PreprocessingChoice | None = None


@dataclass(frozen=True)
class LoadedModel:
    """A model in float32 and eval mode on one device, its graph, and its identity (32 hex digits).

    `preprocessing` is None where there is none. `inputs` are what the network takes; where that is not one float32
    tensor, `module` is the network behind one (`PackedInputs`).
    """

    spec: ModelSpec
    module: nn.Module
    graph: Graph
    preprocessing: Preprocessing | None
    digest: str
    inputs: tuple[InputPart, ...] = ()


def load_model(spec: ModelSpec, device: str | torch.device = "cpu") -> LoadedModel:
    """Load, export, prove and identify a model.

    Raises:
        ModelError: unknown name, missing or unfitting weights, weights that cannot be fetched, a model that cannot
            be exported, or one whose first dimension is not the batch; the message names the way out.
    """
    seed = parse_seed(spec.weights)
    pretrained = spec.weights == PRETRAINED
    chosen = spec.preprocessing or PreprocessingChoice()
    source = open_source(spec.name, image_size=spec.image_size, pretrained=pretrained, seed=seed, size=chosen.size)
    if seed is not None and source.randomisable:
        randomise(source.module, seed)
    elif seed is None and not pretrained:
        load_file_into(source.tensors(), Path(spec.weights))
    where = torch.device(device)
    module, graph = _export(source, where)
    preprocessing = chosen.settle(source.preprocessing, graph.input_shape.per_sample)
    prove_batch(module, graph, where)
    return LoadedModel(spec, module, graph, preprocessing, model_digest(graph, preprocessing), source.inputs)


def _export(source: Source, device: torch.device) -> tuple[nn.Module, Graph]:
    if source.program is None:
        module = source.module.to(device, torch.float32).eval().requires_grad_(False)
        return _export_packed(module, source)
    program = source.program if device.type == "cpu" else move_to_device_pass(source.program, device)
    module = program.module().requires_grad_(False)
    if packed_module(module, source.inputs) is not module:
        return _export_packed(module, source)
    return module, Graph(program)


def _export_packed(module: nn.Module, source: Source) -> tuple[nn.Module, Graph]:
    packed = packed_module(module, source.inputs)
    try:
        return packed, export_graph(packed, packed_shape(source.inputs))
    except ModelError as error:
        if not source.assumed or error.__cause__ is None or explained(error.__cause__):
            raise
        raise ModelError(
            f"{error} (nothing says what it takes, so images were assumed; give the module an attribute "
            f"{EXAMPLE_INPUTS}, a tensor or a tuple of tensors with a batch dimension)"
        ) from error
