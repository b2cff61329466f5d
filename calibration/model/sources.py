"""Where a model comes from: timm, an exported program, or a function of the user's own."""

from __future__ import annotations

import difflib
import importlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import torch
from huggingface_hub import constants
from timm.data.config import resolve_model_data_config
from torch import nn
from torch.export import ExportedProgram

from splitd.calibration.images import Preprocessing
from splitd.errors import ModelError

PROGRAM_SUFFIX = ".pt2"
# Name of the optional JSON document inside a `.pt2` with the fields of Preprocessing.
PREPROCESSING_FILE = "preprocessing.json"
DEFAULT_IMAGE_SIZE = 224
_RGB_CHANNELS = 3
# The hub's client repeats a failed look-up for about 45 s; a working network answers a connection within this time.
CONNECT_TIMEOUT_S = 3.0
_HTTPS_PORT = 443


@dataclass
class Source:
    """A model as built, before its weights are settled: `program` is set for exported programs only."""

    module: nn.Module
    preprocessing: Preprocessing
    program: ExportedProgram | None = None
    randomisable: bool = False

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Parameters and persistent buffers by name; writing to them changes the model."""
        return self.program.state_dict if self.program is not None else self.module.state_dict()


def open_source(name: str, *, image_size: int | None, pretrained: bool, seed: int | None) -> Source:
    """Build the model `name` (see ModelSpec) for square images of `image_size` pixels.

    `seed` seeds the model's own initialisation, if it has one; the process's random state is left as it was.

    Raises:
        ModelError: there is no such model, or it cannot be built or fetched.
    """
    if name.endswith(PROGRAM_SUFFIX):
        return _open_program(Path(name), image_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        if ":" in name:
            return _call_function(name, image_size)
        return _create_timm(name, image_size, pretrained=pretrained)


def _create_timm(name: str, image_size: int | None, *, pretrained: bool) -> Source:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them"
        raise ModelError(f"timm has no model {name}: {hint}")
    try:
        config = timm.get_pretrained_cfg(name)
        fixed = image_size is not None and config is not None and config.fixed_input_size
        size_argument: dict[str, Any] = {"img_size": image_size} if fixed else {}
        with _offline_if_unreachable() if pretrained else nullcontext():
            module = timm.create_model(name, pretrained=pretrained, **size_argument)
    except Exception as error:  # model constructors and download clients raise anything
        raise ModelError(_creation_failure(name, error, pretrained=pretrained)) from error
    settings: dict[str, Any] = resolve_model_data_config(module, use_test_size=True)  # type: ignore[no-untyped-call]
    channels, height, width = settings["input_size"]
    size = (channels, image_size or height, image_size or width)
    return Source(module, _preprocessing({**settings, "size": size}), randomisable=True)


def _creation_failure(name: str, error: Exception, *, pretrained: bool) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if pretrained:
        return (
            f"the pretrained weights of {name} cannot be fetched ({reason}); give weights: PATH to a local file instead"
        )
    return f"timm cannot build {name}: {reason}"


def _call_function(name: str, image_size: int | None) -> Source:
    module_name, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), attribute)
        module = function()
    except Exception as error:  # the user's own code can raise anything
        raise ModelError(f"{name} gives no model: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise ModelError(f"{name} returned {type(module).__name__}, not a torch.nn.Module")
    if isinstance(getattr(module, "preprocessing", None), Preprocessing):
        preprocessing: Preprocessing = module.preprocessing  # type: ignore[assignment]
    else:
        preprocessing = Preprocessing(size=(_RGB_CHANNELS, DEFAULT_IMAGE_SIZE, DEFAULT_IMAGE_SIZE))
    if image_size is not None:
        preprocessing = replace(preprocessing, size=(preprocessing.size[0], image_size, image_size))
    return Source(module, preprocessing)


def _open_program(path: Path, image_size: int | None) -> Source:
    if not path.is_file():
        raise ModelError(f"there is no exported program {path}")
    extra = {PREPROCESSING_FILE: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
    except Exception as error:  # a damaged archive fails in many ways
        raise ModelError(f"{path} is no program of torch.export: {error}") from error
    preprocessing = _parse_preprocessing(path, extra[PREPROCESSING_FILE], _program_image_shape(path, program))
    if image_size not in (None, preprocessing.size[1]):
        raise ModelError(f"{path} was exported for {preprocessing.size[1]} pixel images, not {image_size}")
    return Source(program.module(), preprocessing, program)


def _program_image_shape(path: Path, program: ExportedProgram) -> tuple[int, int, int]:
    inputs = program.graph_signature.user_inputs
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    if len(values) != 1 or not isinstance(values[0], torch.Tensor) or values[0].dim() != 4:
        raise ModelError(f"{path} must take one tensor (batch, channels, height, width)")
    channels, height, width = values[0].shape[1:]
    return int(channels), int(height), int(width)


def _parse_preprocessing(path: Path, text: str | bytes, size: tuple[int, int, int]) -> Preprocessing:
    """Read the preprocessing that an exported program carries; the program itself knows the size."""
    try:
        document = json.loads(text or "{}")
        return _preprocessing({**document, "size": size})
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: {PREPROCESSING_FILE} is not valid: {error}") from error


def _preprocessing(values: Mapping[str, Any]) -> Preprocessing:
    known = {field.name: values[field.name] for field in fields(Preprocessing) if field.name in values}
    lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list | tuple)}
    return Preprocessing(**{**known, **lists})


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Within this context the model hub's client uses only its cache, if the hub cannot be reached now."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(url: str) -> bool:
    """Try to connect; behind a proxy only the proxy knows, so the answer is yes."""
    if getproxies() or "HF_HUB_OFFLINE" in os.environ:
        return True
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or _HTTPS_PORT), CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
