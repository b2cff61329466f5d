"""`splitd inspect`: every cut of a model, and which of them are bottlenecks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, get_args

import click
from rich.console import Console
from rich.table import Table

from splitd.calibration.model import Cut, Granularity, ModelSpec, find_cuts, load_model

SCHEMA_VERSION = 1
MAX_IMAGE_SIZE = 4096


@dataclass(frozen=True)
class Inspection:
    """The cuts of one model at one image size (pixels) and granularity."""

    model: str
    image_size: int
    granularity: str
    cuts: tuple[Cut, ...]

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
    loaded = load_model(spec)
    return Inspection(spec.name, loaded.preprocessing.size[1], granularity, find_cuts(loaded.graph, granularity))


def as_document(inspection: Inspection) -> dict[str, Any]:
    """Return what `--json` prints; shapes and elements are per sample, `ratio` is c_l."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": inspection.model,
        "image_size": inspection.image_size,
        "granularity": inspection.granularity,
        "positions": len(inspection.cuts),
        "natural": inspection.natural,
        "compressive": inspection.compressive,
        "cuts": [_cut_document(cut) for cut in inspection.cuts],
    }


def as_table(inspection: Inspection) -> Table:
    """Return the cuts as a table for people; compressive bottlenecks stand out."""
    title = (
        f"{inspection.model} at {inspection.image_size} px: {len(inspection.cuts)} {inspection.granularity} positions, "
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


@click.command()
@click.argument("model")
@click.option("--weights", default="random:0", show_default=True, help="random:SEED, pretrained, or a file.")
@click.option(
    "--image-size",
    type=click.IntRange(1, MAX_IMAGE_SIZE),
    help="Side of the square input in pixels.  [default: the model's evaluation size]",
)
@click.option(
    "--granularity",
    type=click.Choice(get_args(Granularity)),
    default="block",
    show_default=True,
    help="Cut after each block, as the paper does, or after each operator.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(model: str, weights: str, image_size: int | None, granularity: Granularity, *, as_json: bool) -> None:
    """Show every place where MODEL can be cut, and what would cross there.

    MODEL is a timm name, the path of an exported program (.pt2), or module:function.
    """
    inspection = inspect_model(ModelSpec(model, weights, image_size), granularity)
    if as_json:
        click.echo(json.dumps(as_document(inspection), indent=2))
    else:
        Console().print(as_table(inspection))


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
