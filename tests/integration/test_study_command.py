"""`splitd study` as people run it, on models of a few milliseconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from splitd.agent.commands.cli import cli, main
from splitd.calibration.study.measured import knots

TINY = "test_efficientnet"
SMALL_GRID = ("--batch", "1:4", "--rate", "1:8")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A second thread only waits for the first while other tests share the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(*args: str) -> str:
    outcome = CliRunner().invoke(cli, ["study", *args], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


def test_json_is_one_document() -> None:
    document = json.loads(run(TINY, *SMALL_GRID, "--json"))
    assert document["schema_version"] == 1
    assert (document["cost"], document["latency"]) == ("paper", "roofline")
    assert document["device"].startswith("rtx2080ti-300mhz")
    assert [model["model"] for model in document["models"]] == [TINY]


def test_two_models_run_in_two_processes_and_keep_their_order() -> None:
    document = json.loads(run("test_resnet", TINY, *SMALL_GRID, "--candidates", "full-f32", "--json"))
    assert [model["model"] for model in document["models"]] == ["test_resnet", TINY]
    assert list(document["mean"]["candidates"]) == ["full-f32"]


def test_tables_say_on_which_machines_and_how() -> None:
    args = ("--device", "jetson-orin-nano", "--efficiency", "0.07", "--cost", "splitd")
    shown = " ".join(run(TINY, *SMALL_GRID, *args).split())
    assert "cost: splitd; latency: roofline" in shown
    assert "jetson-orin-nano: 1.28 TFLOPS peak, 7% of it reached" in shown
    assert "privacy mode" in shown


@pytest.mark.parametrize("cost", ["paper", "splitd"])
def test_measured_on_this_machine(cost: str) -> None:
    args = ("--latency", "measured", "--throttle", "0.5", "--batch", "1:2", "--rate", "1:6", "--cost", cost, "--json")
    document = json.loads(run(TINY, *args))
    assert document["latency"] == "measured"
    assert document["device"] == "this machine at 0.5 of its speed"
    assert document["models"][0]["candidates"]["full-u8"]["gain_vs_none"] >= 0


def test_own_hardware(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("box: {peak_flops: 1e12, bandwidth_bytes_per_s: 5e10, efficiency: 0.3, kernel_overhead_s: 1e-6}\n")
    document = json.loads(run(TINY, *SMALL_GRID, "--hardware", str(mine), "--device", "box", "--json"))
    assert document["device"].startswith("box: 1 TFLOPS")


@pytest.mark.parametrize("bad", ["0:3", "5:2", "1:", "a", "-1:4", "1:2:3"])
def test_a_wrong_range_is_a_usage_error(bad: str) -> None:
    outcome = CliRunner().invoke(cli, ["study", TINY, f"--batch={bad}"])
    assert outcome.exit_code == 2
    assert "is not FIRST:LAST" in outcome.stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [((TINY, "--device", "abacus"), 2, "no hardware named 'abacus'"), (("no_such_model",), 1, "no_such_model")],
)
def test_errors_are_one_message(
    args: tuple[str, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["study", *args])
    assert exit_info.value.code == code
    assert message in capsys.readouterr().err


def test_measured_batch_sizes_include_both_ends() -> None:
    assert knots(range(1, 63)) == (1, 4, 16, 62)
    assert knots(range(5, 6)) == (5,)
    assert knots(range(1, 4)) == (1, 2, 3)
