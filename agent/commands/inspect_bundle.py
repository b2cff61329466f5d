"""What `splitd inspect` shows of a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from splitd.calibration.bundle import Bundle
from splitd.calibration.chain import ChainDescription

LABELS_SHOWN = 5


def bundle_document(bundle: Bundle) -> dict[str, Any]:
    """Return what `--json` prints beside the schema's version; k = 0..K, shapes and elements per sample."""
    description = bundle.description
    codebook = bundle.codebook()
    return {
        "bundle": str(bundle.path),
        "model": description.model,
        "digest": description.digest,
        "file_digest": bundle.file_digest,
        "bytes": bundle.size,
        "made_with": dict(bundle.made_with),
        "preprocessing": None if description.preprocessing is None else asdict(description.preprocessing),
        "labels": None if description.labels is None else list(description.labels),
        "reference_samples": bundle.samples,
        "codebook_bytes": 0 if codebook is None else len(codebook),
        "positions": description.last - 1,
        "natural": sum(cut.natural for cut in description.cuts),
        "compressive": sum(cut.compressive for cut in description.cuts),
        "cuts": [_position(description, k) for k in range(len(description.names))],
    }


def bundle_table(bundle: Bundle) -> Table:
    """Return the positions k = 0..K as a table for people; compressive bottlenecks stand out."""
    description = bundle.description
    title = (
        f"{escape(description.model)}, a bundle of {bundle.size / 1e6:.1f} MB: {description.last - 1} cuts, "
        f"{sum(cut.natural for cut in description.cuts)} natural and "
        f"{sum(cut.compressive for cut in description.cuts)} compressive bottlenecks"
    )
    table = Table(title=title, title_justify="left")
    for name in ("cut", "crosses, per sample"):
        table.add_column(name, overflow="fold")
    for name in ("elements", "c_l", "head's share"):
        table.add_column(name, justify="right")
    table.add_column("bottleneck")
    for k, cut in enumerate(description.cuts):
        table.add_row(*_row(description, k), style="bold green" if cut.compressive else None)
    return table


def bundle_notes(bundle: Bundle) -> Iterator[str]:
    """Yield the rest, a line each."""
    description = bundle.description
    labels = description.labels
    if labels is None:
        yield "labels: none"
    else:
        more = f", … {len(labels)} in all" if len(labels) > LABELS_SHOWN else ""
        yield f"labels: {escape(', '.join(labels[:LABELS_SHOWN]))}{more}"
    yield f"digest: {description.digest} of the network, {bundle.file_digest} of the file"
    made_with = ", ".join(f"{name} {version}" for name, version in bundle.made_with.items())
    yield f"made with: {escape(made_with) or 'not said'}"
    yield f"reference samples: {bundle.samples}"


def _position(description: ChainDescription, k: int) -> dict[str, Any]:
    cut = description.cuts[k]
    return {
        "name": description.names[k],
        "tensors": [{"shape": list(spec.per_sample), "dtype": spec.dtype} for spec in description.crossing[k]],
        "elements": cut.elements,
        "ratio": cut.ratio,
        "natural": cut.natural,
        "compressive": cut.compressive,
        "head_share": description.head_share[k],
    }


def _row(description: ChainDescription, k: int) -> tuple[str, ...]:
    cut, specs = description.cuts[k], description.crossing[k]
    shapes = ["x".join(map(str, spec.per_sample)) for spec in specs]
    listed = " + ".join(shapes[:3]) + (f" + {len(shapes) - 3} more" if len(shapes) > 3 else "")
    kind = "compressive" if cut.compressive else "natural" if cut.natural else ""
    share = f"{description.head_share[k]:.1%}"
    return escape(description.names[k]), listed, f"{cut.elements:,}", f"{cut.ratio:.4f}", share, kind
