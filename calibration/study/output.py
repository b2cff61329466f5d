"""Writes a study to a folder: one HTML report, the pictures and the tables as CSV."""

from __future__ import annotations

from pathlib import Path

from splitd.calibration.study.outcome import Study
from splitd.calibration.study.report import render_report
from splitd.calibration.study.tables import csv_tables
from splitd.errors import SplitdError, UsageError

REPORT_FILE = "report.html"


def write_report(study: Study, folder: Path) -> None:
    """Write report.html (self-contained), the PNG files it shows, and CSV tables; existing files are replaced.

    Raises:
        UsageError: matplotlib is not installed.
        SplitdError: the folder cannot be written.
    """
    try:
        from splitd.calibration.study.plots import draw_study  # noqa: PLC0415 - matplotlib is the extra `report`
    except ModuleNotFoundError as error:
        raise UsageError(
            "--out draws pictures with matplotlib; install it with: pip install 'splitd[report]'"
        ) from error
    pictures = draw_study(study)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, png in pictures.items():
            (folder / f"{name}.png").write_bytes(png)
        for name, text in csv_tables(study).items():
            (folder / f"{name}.csv").write_text(text, encoding="utf-8")
        (folder / REPORT_FILE).write_text(render_report(study, pictures), encoding="utf-8")
    except OSError as error:
        raise SplitdError(f"{folder}: the report cannot be written: {error.strerror or error}") from error
