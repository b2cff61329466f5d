"""`splitd export`: one file for a network, checked against the network that it came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from splitd import __version__
from splitd.agent.commands.labels import find_labels
from splitd.agent.commands.progress import progress_bar
from splitd.agent.configuration import PreprocessingSection, load_config
from splitd.calibration.bundle import (
    MAX_RELATIVE_ERROR,
    Bundle,
    Reference,
    relative_error,
    standard_graph,
    write_bundle,
)
from splitd.calibration.chain import Array, ChainDescription, Runner
from splitd.calibration.executors import EXECUTORS
from splitd.calibration.images import PreprocessingChoice, generated_samples, load_samples, normalise
from splitd.calibration.model import ModelSpec
from splitd.calibration.torch_chain import TorchRunner, TorchSource, open_torch
from splitd.errors import ModelError

SCHEMA_VERSION = 1
MAX_IMAGE_SIZE = 4096
REFERENCE_SAMPLES = 4
PRESETS = ("imagenet", "none")
# Shares of the time, for the bar.
_LOADED, _EXPORTED = 0.1, 0.9

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Checked:
    """A written bundle, and how far its graphs are from the network.

    `errors` are the largest differences at the cuts k = 0..K, each as a share of the largest value there.
    """

    bundle: Bundle
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Exported:
    """Segments on their way into a bundle. See splitd.calibration.executors.SegmentSource."""

    description: ChainDescription
    models: tuple[bytes, ...]

    def onnx(self, i: int) -> bytes:
        """Return segment i."""
        return self.models[i]

    def torch_chain(self) -> None:
        """Return None, so that what runs is what was exported."""

    def reference(self) -> None:
        """Return None: it is compared with the network itself, cut by cut."""


@click.command("export", short_help="one file for a network, to run where there is no torch")
@click.argument("model")
@click.option("--weights", default="random:0", show_default=True, help="random:SEED, pretrained, or a file.")
@click.option(
    "--image-size",
    type=click.IntRange(1, MAX_IMAGE_SIZE),
    help="Side of the square input in pixels.  [default: the model's evaluation size]",
)
@click.option(
    "--cuts",
    type=click.Choice(["natural", "compressive", "all"]),
    default="natural",
    show_default=True,
    help="Where it may be cut; the same on both ends.",
)
@click.option("--samples", type=click.Path(path_type=Path), help="Folder of sample images.  [default: generated ones]")
@click.option("--labels", type=click.Path(path_type=Path), help="File with a class name on each line.")
@click.option("--preprocessing", help="YAML file, `imagenet`, or `none`.  [default: what the model brings]")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The bundle, NET.splitd.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    *,
    model: str,
    weights: str,
    image_size: int | None,
    cuts: str,
    samples: Path | None,
    labels: Path | None,
    preprocessing: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Write MODEL into one file that agent and server run without torch, and check the file against MODEL.

    MODEL is a timm name, the path of an exported program (.pt2), or module:function.
    """
    spec = ModelSpec(model, weights, image_size, read_preprocessing(preprocessing))
    with progress_bar() as progress:
        bar = progress.add_task(f"loading {model}", total=1.0)
        report: Report = lambda share, doing: progress.update(bar, completed=share, description=doing)  # noqa: E731
        source = open_torch(spec, cuts=cuts)
        checked = export(source, out, samples=samples, labels=labels, report=report)
    if as_json:
        click.echo(json.dumps(_document(checked), indent=2))
    else:
        _show(checked)


def export(source: TorchSource, out: Path, *, samples: Path | None, labels: Path | None, report: Report) -> Checked:
    """Write the chain into a bundle that has been found to compute what the chain computes.

    Raises:
        ModelError: A segment cannot be exported, or computes something else; nothing is written then.
        InputError: The samples or labels cannot be used.
        UsageError: There are too many or too few labels.
    """
    source.verify()
    description = replace(source.description, labels=find_labels(source.description, labels))
    inputs = reference_inputs(description, samples)
    models = []
    for i in range(description.last):
        report(_LOADED + (_EXPORTED - _LOADED) * i / description.last, f"exporting segment {i + 1}/{description.last}")
        models.append(standard_graph(source.onnx(i)))
    report(_EXPORTED, "checking it against the network")
    exported = Exported(description, tuple(models))
    outputs, errors = compare(source, exported, inputs)
    report(1.0, "writing")
    reference = Reference(inputs, outputs)
    bundle = write_bundle(out, description, exported.models, reference=reference, made_with=_made_with())
    return Checked(bundle, errors)


def compare(source: TorchSource, exported: Exported, inputs: Array) -> tuple[tuple[Array, ...], tuple[float, ...]]:
    """Run both chains side by side; return torch's outputs, and the largest relative error at each cut k = 0..K.

    Raises:
        ModelError: At a cut it is above MAX_RELATIVE_ERROR, or shapes differ.
    """
    ours: Runner = TorchRunner(source.partition, source.device)
    theirs = EXECUTORS["onnxruntime"].build(exported, device="cpu", threads=None, cache_dir=None)
    expected, found = ours.to_live((inputs,)), theirs.to_live((inputs,))
    errors = [0.0]
    for i in range(exported.description.last):
        expected, found = ours.segment(i, expected), theirs.segment(i, found)
        arrays = ours.to_arrays(expected), theirs.to_arrays(found)
        errors.append(max(map(relative_error, *arrays)))
        if not errors[-1] <= MAX_RELATIVE_ERROR:
            name = exported.description.names[i + 1]
            raise ModelError(f"what was exported differs from the network at {name}, by {errors[-1]:.2g} of its range")
    return ours.to_arrays(expected), tuple(errors)


def reference_inputs(description: ChainDescription, samples: Path | None) -> Array:
    """Return a few inputs (samples, …) of the network: sample files, or generated ones."""
    shape = description.input.per_sample
    preprocessing = description.preprocessing
    if samples is None:
        batch = generated_samples(REFERENCE_SAMPLES, shape, preprocessing)
    else:
        batch = load_samples(samples, preprocessing, limit=REFERENCE_SAMPLES, shape=shape)
    return normalise(batch, preprocessing) if batch.dtype == np.uint8 else batch


def read_preprocessing(given: str | None) -> PreprocessingChoice | None:
    """Return what `--preprocessing` says: nothing, a preset's name, or a YAML file with fields of Preprocessing.

    Raises:
        ConfigError: The file cannot be read, or is not what `model.preprocessing` may be.
    """
    if given is None:
        return None
    if given in PRESETS:
        return PreprocessingChoice(**PreprocessingSection.model_validate(given).model_dump())
    return PreprocessingChoice(**load_config(Path(given), PreprocessingSection).model_dump())


def _made_with() -> Mapping[str, str]:
    return {"splitd": __version__, **{name: version(name) for name in ("torch", "onnx", "onnxscript")}}


def _document(checked: Checked) -> dict[str, Any]:
    bundle = checked.bundle
    return {
        "schema_version": SCHEMA_VERSION,
        "bundle": str(bundle.path),
        "bytes": bundle.size,
        "digest": bundle.description.digest,
        "file_digest": bundle.file_digest,
        "cuts": [
            {"name": name, "relative_error": error}
            for name, error in zip(bundle.description.names, checked.errors, strict=True)
        ],
    }


def _show(checked: Checked) -> None:
    bundle = checked.bundle
    table = Table(title=f"{bundle.description.model}, exported and as it was", title_justify="left")
    table.add_column("cut")
    table.add_column("largest relative error", justify="right")
    for name, error in zip(bundle.description.names[1:], checked.errors[1:], strict=True):
        table.add_row(name, f"{error:.1e}")
    console = Console()
    console.print(table)
    size = f"{bundle.size / 1e6:.1f} MB"
    click.echo(f"{bundle.path}: {size}, digest {bundle.description.digest}; `splitd inspect {bundle.path}` shows it")
