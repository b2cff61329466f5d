"""Engines over torch, as the daemons open them, from what a test has at hand."""

from __future__ import annotations

import torch
from torch import nn

from splitd.calibration.chain import Engine
from splitd.calibration.images import Preprocessing
from splitd.calibration.model import Cut, Graph, LoadedModel, ModelSpec
from splitd.calibration.torch_chain import Partition, TorchRunner, TorchSource, open_torch

CPU = torch.device("cpu")


def open_engine(spec: ModelSpec, *, threads: int | None = 1, throttle: float | None = None) -> Engine:
    return engine_on(open_torch(spec, threads=threads), throttle)


def engine_on(source: TorchSource, throttle: float | None = None) -> Engine:
    return Engine(source.description, TorchRunner(source.partition, source.device), throttle)


def source_of(loaded: LoadedModel, cuts: tuple[Cut, ...] | list[Cut]) -> TorchSource:
    return TorchSource(loaded, Partition(loaded, cuts), CPU)


def engine_of(loaded: LoadedModel, cuts: tuple[Cut, ...] | list[Cut]) -> Engine:
    return engine_on(source_of(loaded, cuts))


def loaded_from(module: nn.Module, graph: Graph, preprocessing: Preprocessing | None) -> LoadedModel:
    return LoadedModel(ModelSpec("a test's"), module, graph, preprocessing, "0" * 32)
