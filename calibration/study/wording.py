"""Words and figures that tables, pictures and text share."""

from __future__ import annotations

from splitd.calibration.study.gains import CandidateSet

PAPER_GAIN = (0.20, 0.30)  # mean gain over static splits and no offloading, arXiv 2205.11269

SET_TITLES = {
    CandidateSet.NO_FULL: "no full offloading (privacy mode)",
    CandidateSet.FULL_U8: "full offloading, 1 byte per value",
    CandidateSet.FULL_F32: "full offloading, float32",
}


def percent(share: float | None, digits: int = 1) -> str:
    """Return a fraction as a percentage, a dash for None."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"
