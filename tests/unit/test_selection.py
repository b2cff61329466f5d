"""Which executor runs: the fastest that agrees with the reference; found again at the next start."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from splitd.calibration.chain import Array
from splitd.calibration.measure import MAX_RELATIVE_ERROR, Selection, SelectionSettings, TrialReport, prove
from splitd.calibration.measure.trials import Trial, TrialKey, fastest
from splitd.calibration.model import ModelSpec, find_cuts, load_model
from splitd.calibration.torch_chain import TorchSource
from splitd.errors import ConfigError, ProfileError
from tests.support.chains import engine_on, source_of

KEY = TrialKey("0" * 32, ("input", "output"), "cpu", "-", 1, (1, 4), ("torch 2", "onnxruntime 1"))
TRIALS = (
    Trial("torch", "2", "reference", relative_error=0.0, kl=0.0, head_s=(0.03, 0.1), tail_s=(0.02, 0.1)),
    Trial("onnxruntime", "1", "agrees", relative_error=1e-7, kl=None, head_s=(0.01, 0.05), tail_s=(0.01, 0.05)),
    Trial("openvino", "-", "missing", "openvino is not installed; pip install openvino"),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def source(seed: int = 1) -> TorchSource:
    loaded = load_model(ModelSpec("tests.support.tiny:make", f"random:{seed}", 64))
    return source_of(loaded, find_cuts(loaded.graph, "block")[2:3])


class Spoiled(TorchSource):
    """A model whose export goes wrong: its last segment has other weights."""

    def onnx(self, i: int) -> bytes:
        return source(2 if i == 1 else 1).onnx(i)


def settings(state_dir: Path, **changes: Any) -> SelectionSettings:
    return SelectionSettings(state_dir, threads=1, batch_sizes=(1, 2), repeats=3, **changes)


def tried(state_dir: Path, given: TorchSource | None = None, *, without: tuple[str, ...] = ("inductor",)) -> Selection:
    """A selection after all that is there was made and tried; compiling takes too long to do it each time."""
    selection = Selection(given or source(), settings(state_dir))
    for executor, _ in selection.unmade():
        if executor.name in without:
            selection.give_up(executor, "left out by the test")
        else:
            selection.make(executor, lambda done, count: None)
    selection.settle(lambda share, doing: None)
    return selection


def test_a_first_start_runs_on_the_reference_and_has_the_others_to_try(tmp_path: Path) -> None:
    selection = Selection(source(), settings(tmp_path))
    assert selection.engine.runner.name == "torch"
    assert [executor.name for executor in selection.pending()][:3] == ["torch", "onnxruntime", "openvino"]
    assert all(ready == 0 for _, ready in selection.unmade())
    selection.settle(lambda share, doing: None)  # nothing is at hand, so nothing is tried
    assert selection.trials["torch"].head_s == ()


def test_auto_takes_the_fastest_that_agrees_and_the_next_start_has_it_at_once(tmp_path: Path) -> None:
    selection = tried(tmp_path)
    usable = [trial for trial in selection.trials.values() if trial.usable]
    assert {"torch", "onnxruntime", "openvino"} <= {trial.executor for trial in usable}
    assert selection.engine.runner.name == min(usable, key=lambda trial: trial.cost).executor
    assert all(trial.relative_error is not None and trial.relative_error < 1e-5 for trial in usable)
    again = Selection(source(), settings(tmp_path))
    assert again.engine.runner.name == selection.engine.runner.name
    assert again.trials == selection.trials
    assert again.pending() == ()


def test_one_that_disagrees_is_not_taken(tmp_path: Path) -> None:
    good = source()
    selection = tried(tmp_path, Spoiled(good.loaded, good.partition, good.device))
    assert selection.engine.runner.name == "torch"
    for name in ("onnxruntime", "openvino"):
        trial = selection.trials[name]
        assert trial.verdict == "disagrees"
        assert trial.relative_error is not None
        assert trial.relative_error > MAX_RELATIVE_ERROR
        assert "outputs differ by" in (trial.reason or "")


def test_the_named_executor_runs_even_if_it_is_not_the_fastest(tmp_path: Path) -> None:
    selection = Selection(source(), settings(tmp_path, wanted="openvino"))
    assert [executor.name for executor in selection.pending()] == ["openvino"]
    for executor, _ in selection.unmade():
        selection.make(executor, lambda done, count: None)
    selection.settle(lambda share, doing: None)
    assert selection.engine.runner.name == "openvino"


def test_a_named_executor_that_fails_leaves_the_reference(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    selection = Selection(source(), settings(tmp_path, wanted="openvino"))
    selection.give_up(selection.pending()[0], "it broke")
    assert selection.best().name == "torch"
    assert "executor openvino: it broke; torch runs" in caplog.text


def test_an_executor_that_is_not_there_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TensorRT runs on NVIDIA GPUs only; set"):
        Selection(source(), settings(tmp_path, wanted="tensorrt"))


def test_torch_alone_has_nothing_to_try(tmp_path: Path) -> None:
    assert Selection(source(), settings(tmp_path, wanted="torch")).pending() == ()


def test_a_damaged_report_is_told_and_everything_tried_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tried(tmp_path)
    (report,) = tmp_path.glob("executors-*.json")
    report.write_text(report.read_text()[:-40])
    with caplog.at_level(logging.WARNING):
        selection = Selection(source(), settings(tmp_path))
    assert selection.engine.runner.name == "torch"
    assert selection.pending() != ()
    assert "damaged" in selection.problems[0]


def test_other_batch_sizes_are_tried_anew(tmp_path: Path) -> None:
    tried(tmp_path)
    assert Selection(source(), replace(settings(tmp_path), batch_sizes=(1, 2, 4))).pending() != ()


@dataclass(frozen=True)
class Known:
    inputs: Array
    outputs: tuple[Array, ...]


@pytest.mark.parametrize(
    ("spoil", "agrees"),
    [
        (lambda outputs: outputs, True),
        (lambda outputs: outputs * (1 + 1e-5), True),
        (lambda outputs: outputs * 1.01, False),
        (lambda outputs: np.full_like(outputs, np.nan), False),
        (lambda outputs: outputs[:, ::-1], False),
    ],
    ids=["the same", "rounding", "a hundredth", "not a number", "classes turned round"],
)
def test_the_tolerance_lets_rounding_through_and_nothing_else(spoil: Callable[[Array], Array], agrees: bool) -> None:
    engine = engine_on(source())
    known = source().reference()
    proof = prove(engine, Known(known.inputs, (spoil(known.outputs[0]),)))
    assert proof.agrees is agrees
    assert "at most" in proof.reason


def test_the_fastest_counts_all_batch_sizes_alike() -> None:
    trials = {trial.executor: trial for trial in TRIALS}
    assert fastest(trials) == "onnxruntime"
    assert fastest({"openvino": trials["openvino"]}) is None
    slow_alone = replace(trials["torch"], head_s=(0.02, 0.01))
    assert fastest({**trials, "torch": slow_alone}) == "torch"


def test_a_report_survives_json() -> None:
    report = TrialReport(KEY, TRIALS)
    assert TrialReport.from_json(json.loads(json.dumps(report.to_json()))) == report


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("trials", 0, "verdict"), "splendid"),
        (("trials", 0, "head_s"), [0.1]),
        (("trials", 0, "head_s"), [0.0, 0.1]),
        (("trials", 0, "head_s"), [math.inf, 0.1]),
        (("trials", 0, "relative_error"), -1),
        (("trials", 0, "reason"), "x" * 1000),
        (("trials",), [{}] * 1000),
        (("key", "threads"), "many"),
        (("key", "batch_sizes"), [0]),
    ],
)
def test_a_hostile_report_is_refused(place: tuple[Any, ...], value: Any) -> None:
    document = json.loads(json.dumps(TrialReport(KEY, TRIALS).to_json()))
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    with pytest.raises(ProfileError):
        TrialReport.from_json(document)
