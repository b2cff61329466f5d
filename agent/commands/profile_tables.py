"""A latency profile as tables for people."""

from __future__ import annotations

from rich.table import Table

from splitd.agent.client import size
from splitd.calibration.accuracy import Guard
from splitd.calibration.profile import LatencyProfile, Measurement, Row

NOISY = "~"


def chain_table(profile: LatencyProfile) -> Table:
    """Return the time of every head (on a server: every tail), median and IQR per batch size."""
    device = profile.heads is not None
    table = Table(title=f"{'head' if device else 'tail'}: median ± IQR in ms, on {profile.key.device}")
    table.add_column("k", justify="right")
    table.add_column("split point", no_wrap=True)
    for batch in profile.batch_sizes:
        table.add_column(f"batch {batch}", justify="right", no_wrap=True)
    for k, name in enumerate(profile.cut_names):
        row = [profile.head(k, batch) if device else profile.tail(k, batch) for batch in profile.batch_sizes]
        table.add_row(str(k), name, *map(_shown, row))
    return table


def codec_table(profile: LatencyProfile, guard: Guard | None = None) -> Table:
    """Return bytes on the wire and time of every codec everywhere, for the largest batch; and what the guard says."""
    batch = profile.batch_sizes[-1]
    stage = "encode" if profile.heads is not None else "decode"
    table = Table(title=f"bytes on the wire, and ms to {stage} them, batch {batch}")
    table.add_column("k", justify="right")
    table.add_column("split point")
    table.add_column("codec")
    table.add_column("sent", justify="right")
    table.add_column(stage, justify="right", no_wrap=True)
    if guard is not None:
        table.add_column("accuracy")
    for k, name in enumerate(profile.cut_names):
        for label in profile.codecs_at(k):
            cost = profile.cost(k, label)
            row: Row = cost.encode or cost.decode or ()
            accuracy = [_accuracy(guard, k, label)] if guard is not None else []
            table.add_row(str(k), name, label, size(cost.wire_bytes[-1]), _shown(row[-1]), *accuracy)
    return table


def notes(profile: LatencyProfile, guard: Guard | None = None) -> list[str]:
    """Return what a reader of the tables must know."""
    lines = [] if guard is None else [f"accuracy: {guard.basis}"]
    if profile.throttle_ratio is not None:
        lines.append(
            f"throttled to {profile.key.throttle:.0%} of full speed: times are busy times divided by that share; "
            f"passes that really idled took {profile.throttle_ratio:.2f} times the computed time"
        )
    rows = (profile.heads or profile.tails).rows
    if any(cell.noisy for row in rows for cell in row):
        lines.append(f"{NOISY} noisy: the IQR is more than a tenth of the median; is something else running here?")
    return lines


def _accuracy(guard: Guard, k: int, label: str) -> str:
    found = guard.fidelity(k, label)
    figures = "" if found is None else f" {found.agreeing}/{found.samples}, {found.snr_db:.0f} dB"
    return ("ok" if guard.refusal(k, label) is None else "refused") + figures


def _shown(cell: Measurement) -> str:
    if not cell.median:
        return "0"
    return f"{NOISY if cell.noisy else ''}{_digits(cell.median * 1e3)} ± {_digits(cell.iqr * 1e3)}"


def _digits(value: float) -> str:
    """Return three significant digits, and no exponent."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
