"""`splitd inspect`: every cut of a model or a bundle, and which of them are bottlenecks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from splitd.agent.commands.inspect_bundle import bundle_document, bundle_notes, bundle_table
from splitd.calibration.bundle import open_bundle
from splitd.calibration.images import Preprocessing
from splitd.errors import UsageError

if TYPE_CHECKING:
    from splitd.calibration.model import Cut, ModelSpec

SCHEMA_VERSION = 1
MAX_IMAGE_SIZE = 4096
BUNDLE_SUFFIX = ".splitd"
_IMAGE_RANK = 3  # channels, height, width

Granularity = Literal["block", "op"]


@dataclass(frozen=True)
class Inspection:
    """The cuts of one model at one granularity, for prepared inputs of `shape` (per sample).

    `inputs` are what the network itself takes: shape for one sample and dtype of each.
    """

    model: str
    shape: tuple[int, ...]
    inputs: tuple[tuple[tuple[int, ...], str], ...]
    preprocessing: Preprocessing | None
    granularity: str
    cuts: tuple[Cut, ...]

    @property
    def image_size(self) -> int | None:
        """Height in pixels; None where the network takes no images."""
        return self.shape[1] if len(self.shape) == _IMAGE_RANK else None

    @property
    def natural(self) -> int:
        """Number of natural bottlenecks."""
        return sum(cut.natural for cut in self.cuts)

    @property
    def compressive(self) -> int:
        """Number of compressive bottlenecks."""
        return sum(cut.compressive for cut in self.cuts)


def inspect_model(spec: ModelSpec, granularity: Granularity) -> Inspection:
    """Load the model and find its cuts; ModelError if it cannot be loaded or exported."""
    from splitd.calibration.model import find_cuts, load_model  # noqa: PLC0415 - a bundle is shown without torch

    loaded = load_model(spec)
    shape = loaded.graph.input_shape.per_sample
    inputs = tuple((part.shape, part.dtype_name) for part in loaded.inputs)
    cuts = find_cuts(loaded.graph, granularity)
    return Inspection(spec.name, shape, inputs, loaded.preprocessing, granularity, cuts)


def as_document(inspection: Inspection) -> dict[str, Any]:
    """Return what `--json` prints; shapes and elements are per sample, `ratio` is c_l."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": inspection.model,
        "image_size": inspection.image_size,
        "inputs": [{"shape": list(shape), "dtype": dtype} for shape, dtype in inspection.inputs],
        "preprocessing": None if inspection.preprocessing is None else asdict(inspection.preprocessing),
        "granularity": inspection.granularity,
        "positions": len(inspection.cuts),
        "natural": inspection.natural,
        "compressive": inspection.compressive,
        "cuts": [_cut_document(cut) for cut in inspection.cuts],
    }


def as_table(inspection: Inspection) -> Table:
    """Return the cuts as a table for people; compressive bottlenecks stand out."""
    size = f"{inspection.image_size} px" if inspection.image_size else "x".join(map(str, inspection.shape))
    title = (
        f"{inspection.model} at {size}: {len(inspection.cuts)} {inspection.granularity} positions, "
        f"{inspection.natural} natural and {inspection.compressive} compressive bottlenecks"
    )
    table = Table(title=title, title_justify="left")
    for name, justify in (("cut", "left"), ("shape per sample", "left"), ("elements", "right"), ("float32", "right")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    table.add_column("c_l", justify="right")
    table.add_column("bottleneck")
    for cut in inspection.cuts:
        table.add_row(*_cells(cut), style="bold green" if cut.compressive else None)
    return table


@click.command(short_help="where a model or a bundle can be cut, and what would cross")
@click.argument("model")
@click.option("--weights", default="random:0", show_default=True, help="random:SEED, pretrained, or a file.")
@click.option(
    "--image-size",
    type=click.IntRange(1, MAX_IMAGE_SIZE),
    help="Side of the square input in pixels.  [default: the model's evaluation size]",
)
@click.option(
    "--granularity",
    type=click.Choice(["block", "op"]),
    default="block",
    show_default=True,
    help="Cut after each block, as the paper does, or after each operator.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    context: click.Context,
    model: str,
    weights: str,
    image_size: int | None,
    granularity: Granularity,
    *,
    as_json: bool,
) -> None:
    """Show every place where MODEL can be cut, and what would cross there.

    MODEL is a timm name, the path of an exported program (.pt2), module:function, or a bundle (.splitd), which is
    checked as a whole and shown with its preprocessing, labels and digest.
    """
    if model.endswith(BUNDLE_SUFFIX):
        _refuse_options(context)
        _show_bundle(Path(model), as_json=as_json)
        return
    from splitd.calibration.model import ModelSpec  # noqa: PLC0415

    inspection = inspect_model(ModelSpec(model, weights, image_size), granularity)
    if as_json:
        click.echo(json.dumps(as_document(inspection), indent=2))
    else:
        console = Console()
        console.print(as_table(inspection))
        console.print(f"input: {', '.join(f'{dtype} {shape}' for shape, dtype in inspection.inputs)}", highlight=False)
        console.print(f"preprocessing: {preprocessing_text(inspection.preprocessing)}")


def preprocessing_text(preprocessing: Preprocessing | None) -> str:
    """Return the preprocessing on one line."""
    if preprocessing is None:
        return "none: the network takes prepared tensors only"
    return ", ".join(f"{name} {value}" for name, value in asdict(preprocessing).items())


def _show_bundle(path: Path, *, as_json: bool) -> None:
    bundle = open_bundle(path)
    bundle.check_graphs()
    if as_json:
        click.echo(json.dumps({"schema_version": SCHEMA_VERSION, **bundle_document(bundle)}, indent=2))
        return
    console = Console()
    console.print(bundle_table(bundle))
    for line in (f"preprocessing: {preprocessing_text(bundle.description.preprocessing)}", *bundle_notes(bundle)):
        console.print(line, highlight=False)


def _refuse_options(context: click.Context) -> None:
    given = [
        name
        for name in ("weights", "image_size", "granularity")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"a bundle has its weights, size and cuts: leave out --{given[0].replace('_', '-')}")


def _cut_document(cut: Cut) -> dict[str, Any]:
    return {
        "name": cut.name,
        "module": cut.module,
        "shapes": [list(shape) for shape in cut.shapes],
        "elements": cut.elements,
        "bytes_f32": cut.bytes_f32,
        "ratio": cut.ratio,
        "natural": cut.natural,
        "compressive": cut.compressive,
    }


def _cells(cut: Cut) -> tuple[str, ...]:
    shapes = ["x".join(map(str, shape)) for shape in cut.shapes]
    listed = " + ".join(shapes[:3]) + (f" + {len(shapes) - 3} more" if len(shapes) > 3 else "")
    kind = "compressive" if cut.compressive else "natural" if cut.natural else ""
    return cut.name, listed, f"{cut.elements:,}", f"{cut.bytes_f32 / 1e3:,.1f} kB", f"{cut.ratio:.4f}", kind
