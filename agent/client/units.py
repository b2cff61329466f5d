"""SI numbers for people: the only place where units are converted."""

from __future__ import annotations


def ms(seconds: float | None) -> str:
    """Return seconds as milliseconds with three significant digits."""
    if seconds is None:
        return "-"
    # From 999.5 on three digits would be written as a power of ten.
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds * 1000:.0f} ms"


def rate(bytes_per_s: float | None) -> str:
    """Return a data rate in MB/s or kB/s (decimal)."""
    if bytes_per_s is None:
        return "-"
    return f"{bytes_per_s / 1e6:.3g} MB/s" if bytes_per_s >= 1e6 else f"{bytes_per_s / 1e3:.3g} kB/s"


def size(n_bytes: float | None) -> str:
    """Return a size in MB, kB or B (decimal)."""
    if n_bytes is None:
        return "-"
    if n_bytes >= 1e6:
        return f"{n_bytes / 1e6:.3g} MB"
    return f"{n_bytes / 1e3:.3g} kB" if n_bytes >= 1e3 else f"{n_bytes:.0f} B"


def duration(seconds: float) -> str:
    """Return a span such as `3 h 12 min`, `4 min 5 s` or `2.1 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest_s} s"
