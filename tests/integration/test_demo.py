"""`splitd demo`: three real processes, four policies over one trace, one document and one picture."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import ROOT

TRACE = "time_s,rate_bytes_per_s\n0,20000000\n1,2000000\n2,200000\n3,20000000\n"
POLICIES = {"dynamic", "local", "full", "static"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("demo")
    (home / "trace.csv").write_text(TRACE)
    command = [
        sys.executable,
        "-m",
        "splitd.agent.commands.cli",
        "demo",
        "--json",
        "--seconds",
        "4",
        "--out",
        str(home),
    ]
    result = subprocess.run(
        [*command, "--model", "tests.support.tiny:make_for_photographs", "--trace", str(home / "trace.csv")],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_nothing_is_lost_and_every_policy_really_ran(demo: dict[str, Any]) -> None:
    assert demo["lost"] == 0
    assert {row["policy"] for row in demo["batch_list"]} == POLICIES
    assert demo["batches"] == len(demo["batch_list"])
    local = [row for row in demo["batch_list"] if row["policy"] == "local"]
    assert {row["split"] for row in local} == {"output"}


def test_the_document_has_means_gains_and_batches(demo: dict[str, Any]) -> None:
    for name in ("dynamic_ms", "local_ms", "full_offload_ms", "best_static_ms"):
        assert demo[name] > 0
    assert {"gain_vs_local", "gain_vs_full_offload", "gain_vs_best_static", "switches"} <= set(demo)
    true_rates = {row["true_rate_bytes_per_s"] for row in demo["batch_list"]}
    assert true_rates == {20_000_000.0, 2_000_000.0, 200_000.0}


def test_the_estimate_follows_the_true_rate(demo: dict[str, Any]) -> None:
    full = [row for row in demo["batch_list"] if row["policy"] == "full" and row["source"] == "server"]
    settled = [row for row in full if row["true_rate_bytes_per_s"] == 2_000_000.0][-3:]
    assert settled, "full offloading must have got through at 2 MB/s"
    assert settled[-1]["estimated_rate_bytes_per_s"] == pytest.approx(2_000_000, rel=0.25)


def test_the_plot_is_a_picture(demo: dict[str, Any]) -> None:
    assert Path(demo["plot"]).read_bytes().startswith(b"\x89PNG")


def test_a_bad_trace_is_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("time_s,rate_bytes_per_s\n0,fast\n")
    result = subprocess.run(
        [sys.executable, "-m", "splitd.agent.commands.cli", "demo", "--trace", str(tmp_path / "bad.csv")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert result.returncode == 1
    assert "bad.csv:2: expected two numbers" in result.stderr
    assert "Traceback" not in result.stderr
