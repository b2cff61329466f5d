"""timm's models on the meta device, which knows shapes only; each is built and exported once in a test run."""

from __future__ import annotations

from functools import lru_cache

import timm
import torch
from torch import nn

from splitd.calibration.model.graph import Graph, export_graph

LIMIT = 32  # all that a usual run has; timm's whole registry would take gigabytes


@lru_cache(maxsize=LIMIT)
def meta_model(name: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name).eval().requires_grad_(False)


@lru_cache(maxsize=LIMIT)
def meta_graph(name: str, size: int) -> Graph:
    """The graph for square images of `size` pixels."""
    return export_graph(meta_model(name), (3, size, size))
