"""The study's tables as CSV, one row per fact, for people who want to compute with them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from splitd.calibration.study.document import Study
from splitd.calibration.study.gains import Gains

Cell = str | int | float | None


def csv_tables(study: Study) -> dict[str, str]:
    """Return the CSV documents by file name without suffix; gains and shares are fractions, empty where undefined."""
    tables = {
        "models": _models(study),
        "cuts": _cuts(study),
        "gains": _gains(study),
        "fixed_splits": _fixed_splits(study),
        "winners": _winners(study),
    }
    if any(result.sweep for result in study.results):
        tables["sweep"] = _sweep(study)
    if study.checks:
        tables["shares"] = _shares(study)
    return tables


GAIN_COLUMNS = (
    "optimal_splits",
    "split_share",
    "gain_vs_none",
    "gain_vs_full",
    "gain_vs_best_static",
    "gain_vs_mean_static",
)


def _gain_cells(gains: Gains) -> tuple[Cell, ...]:
    return tuple(_rounded(getattr(gains, column)) for column in GAIN_COLUMNS)


def _models(study: Study) -> str:
    header = ("model", "image_size", "parameters", "flops", "blocks", "natural", "compressive")
    facts = [result.facts for result in study.results]
    rows = (
        (f.model, f.image_shape[1], f.parameters, f.flops, len(f.cuts), f.natural, len(f.compressive)) for f in facts
    )
    return _csv(header, rows)


def _cuts(study: Study) -> str:
    header = ("model", "cut", "elements", "ratio", "natural", "compressive")
    rows = (
        (result.facts.model, cut.name, cut.elements, _rounded(cut.ratio), int(cut.natural), int(cut.compressive))
        for result in study.results
        for cut in result.facts.cuts
    )
    return _csv(header, rows)


def _gains(study: Study) -> str:
    rows = (
        (result.facts.model, candidates.value, *_gain_cells(one.gains), _rounded(one.regret))
        for result in study.results
        for candidates, one in result.sets.items()
    )
    return _csv(("model", "candidates", *GAIN_COLUMNS, "regret_vs_all_blocks"), rows)


def _fixed_splits(study: Study) -> str:
    rows = (
        (result.facts.model, candidates.value, cut, _rounded(gain))
        for result in study.results
        for candidates, one in result.sets.items()
        for cut, gain in one.gains.gain_vs_static.items()
    )
    return _csv(("model", "candidates", "fixed_split", "gain_of_dynamic"), rows)


def _winners(study: Study) -> str:
    rows = (
        (result.facts.model, candidates.value, position, _rounded(share))
        for result in study.results
        for candidates, one in result.sets.items()
        for position, share in one.winners(candidates).items()
    )
    return _csv(("model", "candidates", "position", "share_of_states"), rows)


def _sweep(study: Study) -> str:
    rows = (
        (result.facts.model, efficiency, candidates.value, *_gain_cells(gains))
        for result in study.results
        for efficiency, sets in result.sweep.items()
        for candidates, gains in sets.items()
    )
    return _csv(("model", "efficiency", "candidates", *GAIN_COLUMNS), rows)


def _shares(study: Study) -> str:
    rows = (
        (check.model, cut, _rounded(measured), _rounded(roofline))
        for check in study.checks
        for cut, measured, roofline in zip(check.cuts, check.measured, check.roofline, strict=True)
    )
    return _csv(("model", "cut", "measured_share", "roofline_share"), rows)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 5)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
