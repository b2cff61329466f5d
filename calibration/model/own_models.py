"""Networks of the user's own: a function that returns an `nn.Module`, or an exported program."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from splitd.calibration.images import Preprocessing
from splitd.calibration.model.failures import cause, quiet
from splitd.calibration.model.inputs import EXAMPLE_INPUTS, InputPart, declared_inputs
from splitd.calibration.model.quantised import register_operators, unpacked
from splitd.errors import ModelError

log = logging.getLogger(__name__)

# Name of the optional JSON document inside a `.pt2` with the fields of Preprocessing.
PREPROCESSING_FILE = "preprocessing.json"
DEFAULT_IMAGE_SIZE = 224
_RGB_CHANNELS = 3
_IMAGE_RANK = 3

Size = tuple[int, int, int]


@dataclass
class Source:
    """A model as built, before its weights are settled.

    `inputs` are what it takes, `assumed` where nothing says so; `preprocessing` is what it brings, None if it brings
    none; `program` is set for exported programs only.
    """

    module: nn.Module
    inputs: tuple[InputPart, ...]
    preprocessing: Preprocessing | None
    program: ExportedProgram | None = None
    randomisable: bool = False
    assumed: bool = False

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Parameters and persistent buffers by name; writing to them changes the model."""
        return self.program.state_dict if self.program is not None else self.module.state_dict()


def call_function(name: str, image_size: int | None, size: Size | None) -> Source:
    """Return what `module:function` returns; `size` is what a module takes that does not say it itself.

    Raises:
        ModelError: There is no such function, it fails, or what it returns is no module of known inputs.
    """
    module = _call(name)
    own = getattr(module, "preprocessing", None)
    own = own if isinstance(own, Preprocessing) else None
    declared = declared_inputs(module)
    assumed = declared is None and own is None and size is None
    shape = size or (own.size if own is not None else (_RGB_CHANNELS, DEFAULT_IMAGE_SIZE, DEFAULT_IMAGE_SIZE))
    inputs = _resized(name, declared or (InputPart(shape),), image_size)
    return Source(unpacked(module), inputs, _fitted(own, inputs), assumed=assumed)


def open_program(path: Path, image_size: int | None) -> Source:
    """Load an exported program; raises ModelError if it is damaged or made for another image size."""
    if not path.is_file():
        raise ModelError(f"there is no exported program {path}")
    extra = {PREPROCESSING_FILE: ""}
    program = _load_program(path, extra)
    inputs = _program_inputs(path, program)
    if _resized(str(path), inputs, image_size) != inputs:
        raise ModelError(f"{path} was exported for {inputs[0].shape[-1]} pixel images, not {image_size}")
    own = _program_preprocessing(path, extra[PREPROCESSING_FILE], inputs)
    return Source(program.module(), inputs, own, program)


def preprocessing_from(values: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing of a mapping with its fields among others; TypeError where one is missing."""
    known = {field.name: values[field.name] for field in fields(Preprocessing) if field.name in values}
    lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list | tuple)}
    return Preprocessing(**{**known, **lists})


def _call(name: str) -> nn.Module:
    module_name, _, attribute = name.partition(":")
    try:
        module = getattr(importlib.import_module(module_name), attribute)()
    except Exception as error:  # the user's own code can raise anything
        raise ModelError(f"{name} gives no model: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{name} returned {type(module).__name__}, not a torch.nn.Module")
    return module


def _resized(name: str, inputs: tuple[InputPart, ...], image_size: int | None) -> tuple[InputPart, ...]:
    if image_size is None:
        return inputs
    if len(inputs) != 1 or len(inputs[0].shape) != _IMAGE_RANK:
        raise ModelError(f"{name} takes no images, so image_size means nothing here; leave it out")
    return (replace(inputs[0], shape=(inputs[0].shape[0], image_size, image_size)),)


def _fitted(own: Preprocessing | None, inputs: tuple[InputPart, ...]) -> Preprocessing | None:
    """Return the module's own preprocessing, for the size that it is used at."""
    if own is None or own.size == inputs[0].shape:
        return own
    if len(inputs) != 1 or len(inputs[0].shape) != _IMAGE_RANK or inputs[0].shape[0] != own.size[0]:
        raise ModelError(f"the module's preprocessing makes {own.size}, its {EXAMPLE_INPUTS} say {inputs[0].shape}")
    channels, height, width = inputs[0].shape
    return replace(own, size=(channels, height, width))


def _load_program(path: Path, extra: dict[str, str]) -> ExportedProgram:
    register_operators()
    try:
        with quiet():  # it logs pages for each operator that it does not know
            return torch.export.load(path, extra_files=extra)
    except Exception as error:  # a damaged archive fails in many ways
        log.debug("torch.export.load failed", exc_info=error)
        raise ModelError(f"{path} is no program of torch.export: {cause(error)}") from error


def _program_inputs(path: Path, program: ExportedProgram) -> tuple[InputPart, ...]:
    names = program.graph_signature.user_inputs
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if not values or len(values) != len(names) or not all(isinstance(value, torch.Tensor) for value in values):
        raise ModelError(f"{path} must take tensors only, at least one")
    if any(not isinstance(size, int) for value in values for size in value.shape[1:]):
        raise ModelError(f"{path} was exported with a dynamic size other than the batch; export it for one size")
    return tuple(InputPart(tuple(value.shape[1:]), value.dtype) for value in values)


def _program_preprocessing(path: Path, text: str | bytes, inputs: tuple[InputPart, ...]) -> Preprocessing | None:
    """Read the preprocessing that an exported program carries; the program itself knows the size."""
    if not text:
        return None
    try:
        document = json.loads(text)
        return preprocessing_from({**document, "size": inputs[0].shape})
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: {PREPROCESSING_FILE} is not valid: {error}") from error
