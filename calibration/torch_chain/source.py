"""A model as a source of segments: described, proved to be divisible, exported one segment at a time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch.utils.flop_counter import FlopCounterMode

from splitd.calibration.chain import Array, ChainDescription, CutFacts, Engine, TensorSpec, printable
from splitd.calibration.images import generated_samples
from splitd.calibration.model import Cut, LoadedModel, ModelSpec, find_cuts, load_model
from splitd.calibration.torch_chain.export import export_segment
from splitd.calibration.torch_chain.partition import Partition
from splitd.calibration.torch_chain.runner import TorchRunner, open_device

REFERENCE_SAMPLES = 8  # a wrong kernel shows in any; more only take longer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TorchAnswers:
    """See splitd.calibration.executors.KnownAnswers."""

    inputs: Array
    outputs: tuple[Array, ...]


class TorchSource:
    """A partition whose segments can be had in torch or as ONNX. See splitd.calibration.executors.SegmentSource.

    Attributes:
        loaded: The model with its digest.
        partition: The chain, on `device`.
        description: The same without torch.
    """

    def __init__(self, loaded: LoadedModel, partition: Partition, device: torch.device) -> None:
        self.loaded = loaded
        self.partition = partition
        self.device = device
        self.description = describe(partition, loaded, device)
        self._answers: TorchAnswers | None = None

    def onnx(self, i: int) -> bytes:
        """Export segment i; seconds each. Raises ModelError."""
        return export_segment(self.partition, i, self.device)

    def torch_chain(self) -> Partition:
        """Return the chain in torch, on `device`."""
        return self.partition

    def reference(self) -> TorchAnswers:
        """Return generated samples, and what torch computes of them."""
        if self._answers is None:
            self._answers = _answers(TorchRunner(self.partition, self.device), self.description)
        return self._answers

    def verify(self) -> None:
        """Prove that every split gives the unsplit model's bits; raises ModelError."""
        generator = torch.Generator().manual_seed(0)
        # In 0..2: as whole numbers 0 and 1, which every vocabulary has.
        x = 2 * torch.rand(self.description.input.at(2), generator=generator)
        self.partition.verify(x.to(self.device))


def open_torch(
    spec: ModelSpec, *, device: str = "cpu", threads: int | None = None, cuts: str = "natural"
) -> TorchSource:
    """Load, export and cut the model.

    Args:
        spec: Which model, with which weights.
        device: `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads of the whole process; None leaves them to torch.
        cuts: `natural`, `compressive` or `all`: where the chain is cut.

    Raises:
        ModelError: It cannot be loaded, exported or cut.
        ConfigError: The device does not exist.
    """
    where = open_device(device, threads)
    loaded = load_model(spec, where)
    return TorchSource(loaded, Partition(loaded, choose_cuts(find_cuts(loaded.graph, "block"), cuts)), where)


def describe(partition: Partition, loaded: LoadedModel, device: torch.device | None = None) -> ChainDescription:
    """Return the partition without torch; one image runs through it, to see types and to count multiplications."""
    specs, flops = _one_pass(partition, device or torch.device("cpu"))
    total = sum(flops) or 1
    ends = (
        CutFacts(sum(spec.elements for spec in specs[0]), 1.0, natural=False, compressive=False),
        CutFacts(0, 0.0, natural=False, compressive=False),
    )
    cuts = [CutFacts(cut.elements, cut.ratio, cut.natural, cut.compressive) for cut in partition.cuts]
    return ChainDescription(
        digest=loaded.digest,
        model=printable(loaded.spec.name),
        names=partition.names,
        cuts=(ends[0], *cuts, ends[1]),
        crossing=tuple(specs),
        head_share=tuple(done / total for done in accumulate(flops, initial=0)),
        preprocessing=loaded.preprocessing,
    )


def _answers(runner: TorchRunner, chain: ChainDescription) -> TorchAnswers:
    engine = Engine(chain, runner)
    samples = generated_samples(REFERENCE_SAMPLES, engine.sample_shape, engine.preprocessing)
    live = engine.to_input(samples)
    return TorchAnswers(engine.to_arrays(live)[0], engine.tail(0, live))


def choose_cuts(cuts: Sequence[Cut], which: str) -> list[Cut]:
    """Return the `natural`, `compressive` or `all` cuts."""
    if which == "all":
        return list(cuts)
    chosen = [cut for cut in cuts if (cut.natural if which == "natural" else cut.compressive)]
    if not chosen:
        log.warning("this network has no %s bottleneck: only full offloading and local work remain", which)
    return chosen


def _one_pass(partition: Partition, device: torch.device) -> tuple[list[tuple[TensorSpec, ...]], list[int]]:
    """Return the tensors at k = 0..K and the multiplications of each segment."""
    shapes = partition.crossing
    live: tuple[torch.Tensor, ...] = tuple(torch.zeros(shape.at(1), device=device) for shape in shapes[0])
    passed, flops = [live], []
    for i in range(partition.K):
        with FlopCounterMode(display=False) as counter:
            live = partition.segment(i, live)
        flops.append(counter.get_total_flops())
        passed.append(live)
    specs = [
        tuple(
            TensorSpec(shape.fixed, shape.axis, str(tensor.dtype).removeprefix("torch."))
            for shape, tensor in zip(at_cut, tensors, strict=True)
        )
        for at_cut, tensors in zip(shapes, passed, strict=True)
    ]
    return specs, flops
