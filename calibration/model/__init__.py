"""Models: where they come from, their weights, their preprocessing, the exported graph, its cuts, the digest."""

from splitd.calibration.model.graph import Cut, Granularity, Graph, export_graph, find_cuts, is_check
from splitd.calibration.model.inputs import InputPart
from splitd.calibration.model.models import LoadedModel, ModelSpec, load_model
from splitd.calibration.model.mutation import mutates, out_of_place, storage_root
from splitd.calibration.model.shapes import BatchShape, batch_shape
from splitd.calibration.model.sources import open_source

__all__ = [
    "BatchShape",
    "Cut",
    "Granularity",
    "Graph",
    "InputPart",
    "LoadedModel",
    "ModelSpec",
    "batch_shape",
    "export_graph",
    "find_cuts",
    "is_check",
    "load_model",
    "mutates",
    "open_source",
    "out_of_place",
    "storage_root",
]
