"""The models of a study: the paper's fourteen by default, built on the meta device where weights do not matter."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import timm
import torch
from numpy.typing import NDArray

from splitd.calibration.images import Preprocessing
from splitd.calibration.model import (
    Cut,
    Graph,
    LoadedModel,
    ModelSpec,
    export_graph,
    find_cuts,
    load_model,
    open_source,
)
from splitd.calibration.study.roofline import Prefixes
from splitd.calibration.study.traffic import KernelTable, count_kernels
from splitd.errors import ModelError

COLOURS = 3

# EfficientNetV1 B0-B6 and EfficientNetV2 B0-B3, S, M, L (arXiv 2205.11269, section 4) with the side of their images in
# pixels: for V1 those of Tan and Le (arXiv 1905.11946), which timm's own weights for `efficientnet_b*` depart from; for
# V2 the evaluation sizes of arXiv 2104.00298, which are timm's too.
PAPER_MODELS = {
    "efficientnet_b0": 224,
    "efficientnet_b1": 240,
    "efficientnet_b2": 260,
    "efficientnet_b3": 300,
    "efficientnet_b4": 380,
    "efficientnet_b5": 456,
    "efficientnet_b6": 528,
    "tf_efficientnetv2_b0": 224,
    "tf_efficientnetv2_b1": 240,
    "tf_efficientnetv2_b2": 260,
    "tf_efficientnetv2_b3": 300,
    "tf_efficientnetv2_s": 384,
    "tf_efficientnetv2_m": 480,
    "tf_efficientnetv2_l": 480,
}


@dataclass(frozen=True)
class Subject:
    """One model as the study sees it; shapes and counts are per sample."""

    name: str
    image_shape: tuple[int, int, int]
    parameters: int
    result_values: int
    cuts: tuple[Cut, ...]
    kernels: KernelTable

    @property
    def input_elements(self) -> int:
        """|x|."""
        channels, height, width = self.image_shape
        return channels * height * width

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all positions: input, every block, output."""
        return ("input", *(cut.name for cut in self.cuts), "output")

    @property
    def elements(self) -> NDArray[np.int64]:
        """|h_l| of all positions; 0 at the output, where nothing crosses."""
        return np.array([self.input_elements, *(cut.elements for cut in self.cuts), 0], dtype=np.int64)

    @property
    def shapes(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """Shapes of the tensors that cross at every position but the last."""
        return ((self.image_shape,), *(cut.shapes for cut in self.cuts))

    @property
    def compressive(self) -> NDArray[np.int64]:
        """Positions of the paper's candidates: input, the compressive bottlenecks, output."""
        cuts = [k for k, cut in enumerate(self.cuts, start=1) if cut.compressive]
        return np.array([0, *cuts, len(self.cuts) + 1], dtype=np.int64)

    @property
    def prefixes(self) -> Prefixes:
        """How many kernels lie before each position."""
        up_to = (self.kernels.kernels_up_to(cut.node_index) for cut in self.cuts)
        return Prefixes(self.names, (0, *up_to, len(self.kernels.steps)))


def open_subject(name: str) -> Subject:
    """Build, export and count one model.

    Raises:
        ModelError: there is no such model, or it cannot be exported.
    """
    graph = _meta_graph(name) if timm.is_model(name) else load_model(ModelSpec(name)).graph
    return describe(name, graph)


def load_measurable(name: str) -> LoadedModel:
    """Load a model whose input is measured as colour images, the study's unit.

    One without preprocessing gets some that changes no value but the scale: only its time counts here.

    Raises:
        ModelError: there is no such model, it cannot be exported, or it takes something else than such images.
    """
    loaded = load_model(ModelSpec(name, image_size=PAPER_MODELS.get(name)))
    shape = loaded.graph.image_shape
    if shape[0] != COLOURS:
        raise ModelError(f"{name} takes {shape[0]} channels; the study compares with sending colour images")
    if loaded.preprocessing is not None:
        return loaded
    return replace(loaded, preprocessing=Preprocessing(shape, (0.0,) * COLOURS, (1.0,) * COLOURS))


def describe(name: str, graph: Graph) -> Subject:
    """Return what the study needs to know of an exported graph."""
    parameters = [tensor for tensor in graph.constants.values() if isinstance(tensor, torch.nn.Parameter)]
    return Subject(
        name=name,
        image_shape=graph.image_shape,
        parameters=sum(parameter.numel() for parameter in parameters),
        result_values=sum(shape.elements for shape in graph.output_shapes),
        cuts=find_cuts(graph, "block"),
        kernels=count_kernels(graph),
    )


def _meta_graph(name: str) -> Graph:
    with torch.device("meta"):
        source = open_source(name, image_size=PAPER_MODELS.get(name), pretrained=False, seed=None)
    return export_graph(source.module.eval(), source.inputs[0].shape)
