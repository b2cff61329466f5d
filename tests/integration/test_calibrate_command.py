"""`splitd calibrate` as a user runs it: a configuration in, tables or JSON out, the profile saved."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from splitd.agent.commands.cli import main
from splitd.calibration.profile.latency import LatencyProfile
from splitd.calibration.profile.statefile import load_document

Run = Callable[..., tuple[int, str, str]]

MODEL = """
from torch import nn

def tiny():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 16, 10),
    )
"""
AGENT = """
server: {{address: "tcp://127.0.0.1:7571"}}
model: {{name: "tiny_model:tiny", image_size: 32, preprocessing: imagenet}}
device: {{threads: 1, throttle: 0.5, executor: torch}}
calibration: {{batch_sizes: [1, 2], repeats: 3, state_dir: {state}}}
accuracy: {{samples: generated}}
planner: {{cuts: all, codecs: [f32, u8]}}
"""
SERVER = """
bind: "tcp://127.0.0.1:7571"
model: {{name: "tiny_model:tiny", image_size: 32, preprocessing: imagenet}}
device: {{threads: 1, executor: torch}}
calibration: {{batch_sizes: [1, 2], repeats: 3, state_dir: {state}}}
cuts: all
codecs: [f32, u8]
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Return a function that runs the command in this process, which has torch already."""
    (tmp_path / "tiny_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    config = tmp_path / "splitd.yaml"

    def call(text: str, *options: str) -> tuple[int, str, str]:
        config.write_text(text.format(state=tmp_path / "state"))
        with pytest.raises(SystemExit) as stopped:
            main(["calibrate", "--config", str(config), *options])
        return int(stopped.value.code or 0), *capsys.readouterr()

    threads = torch.get_num_threads()
    yield call
    torch.set_num_threads(threads)
    sys.modules.pop("tiny_model", None)


def test_an_agent_gets_tables_with_the_accuracy_and_a_saved_profile(run: Run, tmp_path: Path) -> None:
    code, out, err = run(AGENT)
    assert code == 0, err
    for said in ("head: median ± IQR in ms", "batch 2", "encode", "8 generated images", "throttled to 50%", "saved: "):
        assert said in out
    saved = sorted(path.name.split("-")[0] for path in (tmp_path / "state").iterdir())
    assert saved == ["accuracy", "profile"]


def test_a_server_is_measured_for_tails_and_decoding(run: Run) -> None:
    code, out, err = run(SERVER)
    assert code == 0, err
    assert "tail: median ± IQR in ms" in out
    assert "decode" in out
    assert "accuracy" not in out


def test_json_is_one_document_with_the_saved_figures(run: Run) -> None:
    code, out, err = run(AGENT, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["schema_version"] == 1
    assert document["problems"] == []
    shown = LatencyProfile.from_json(document["profile"])
    saved = LatencyProfile.from_json(load_document(Path(document["path"]), "latency profile"))
    assert shown.head_s(1, 2) == pytest.approx(saved.head_s(1, 2))
    assert shown.key == saved.key
    assert {result["codec"] for result in document["accuracy"]["results"]} == {"u8", "jpeg90"}


def test_a_bad_configuration_is_refused_with_its_line(run: Run) -> None:
    code, _, err = run(AGENT.replace("repeats: 3", "repeats: 3, speed: 9"))
    assert code == 1
    assert "splitd.yaml:5: calibration.speed: unknown key" in err
