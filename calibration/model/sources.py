"""Where a model comes from: timm, an exported program, or a function of the user's own."""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import torch
from huggingface_hub import constants
from timm.data.config import resolve_model_data_config

from splitd.calibration.model.inputs import InputPart
from splitd.calibration.model.own_models import Size, Source, call_function, open_program, preprocessing_from
from splitd.errors import ModelError

PROGRAM_SUFFIX = ".pt2"
# The hub's client repeats a failed look-up for about 45 s; a working network answers a connection within this time.
CONNECT_TIMEOUT_S = 3.0
_HTTPS_PORT = 443


def open_source(
    name: str, *, image_size: int | None, pretrained: bool, seed: int | None, size: Size | None = None
) -> Source:
    """Build the model `name` (see ModelSpec) for square images of `image_size` pixels.

    `size` (channels, height, width) is what a network of the user's own takes that does not say it itself. `seed`
    seeds the model's own initialisation, if it has one; the process's random state is left as it was.

    Raises:
        ModelError: there is no such model, or it cannot be built or fetched.
    """
    if name.endswith(PROGRAM_SUFFIX):
        return open_program(Path(name), image_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        if ":" in name:
            return call_function(name, image_size, size)
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
    shape = (channels, image_size or height, image_size or width)
    own = preprocessing_from({**settings, "size": shape})
    return Source(module, (InputPart(shape),), own, randomisable=True)


def _creation_failure(name: str, error: Exception, *, pretrained: bool) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if pretrained:
        return (
            f"the pretrained weights of {name} cannot be fetched ({reason}); give weights: PATH to a local file instead"
        )
    return f"timm cannot build {name}: {reason}"


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
