"""Models are loaded from four kinds of places, are the same on every machine, and say plainly what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn
from torch.export import Dim

from splitd.calibration.model.digest import model_digest
from splitd.calibration.model.graph import find_cuts
from splitd.calibration.model.models import LoadedModel, ModelSpec, load_model
from splitd.calibration.model.sources import open_source
from splitd.calibration.model.weights import randomise
from splitd.calibration.torch_chain.partition import Partition
from splitd.errors import ModelError

TIMM_NAME = "test_efficientnet"
EXPECTED_RANDOM = ["-0x1.7b84240000000p-2", "0x1.a7e97a0000000p+0", "0x1.3d82040000000p+0", "0x1.03a5c60000000p+0"]
FUNCTIONS = """
import torch
from torch import nn

def small():
    norm = nn.BatchNorm2d(4)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def number():
    return 3

def failing():
    raise RuntimeError("no such thing")

class Branching(nn.Module):
    def forward(self, x):
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

class OneSample(nn.Module):
    def forward(self, x):
        return x.reshape(2, -1)
"""


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(ModelSpec(TIMM_NAME))


@pytest.fixture(scope="module")
def other() -> LoadedModel:
    """The same network with other weights."""
    return load_model(ModelSpec(TIMM_NAME, "random:8"))


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable module with model functions."""
    (tmp_path / "functions_of_a_user.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "functions_of_a_user", raising=False)
    return "functions_of_a_user"


def small_network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3, stride=2), nn.Flatten()]
    return nn.Sequential(*layers).eval().requires_grad_(False)


def save_program(path: Path, *, dynamic: bool = True, preprocessing: str = "") -> nn.Module:
    module = small_network()
    shapes = ({0: Dim("batch", min=1, max=64)},) if dynamic else None
    program = torch.export.export(module, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=shapes)
    torch.export.save(program, path, extra_files={"preprocessing.json": preprocessing} if preprocessing else None)
    return module


def test_a_timm_model_brings_its_own_preprocessing(loaded: LoadedModel) -> None:
    config = loaded.module.pretrained_cfg
    assert loaded.preprocessing.size == tuple(config["input_size"])
    assert loaded.preprocessing.mean == tuple(config["mean"])
    assert loaded.preprocessing.std == tuple(config["std"])
    assert loaded.preprocessing.interpolation == config["interpolation"]
    assert not loaded.module.training
    assert {parameter.dtype for parameter in loaded.module.parameters()} == {torch.float32}


def test_the_evaluation_size_is_the_default_and_image_size_overrides_it() -> None:
    own = open_source("resnet10t", image_size=None, pretrained=False, seed=0)
    assert own.module.pretrained_cfg["input_size"] == (3, 176, 176)
    assert own.preprocessing.size == (3, 224, 224)
    assert load_model(ModelSpec("test_resnet", image_size=96)).graph.image_shape == (3, 96, 96)


def test_a_fixed_size_transformer_is_built_for_the_wanted_size() -> None:
    assert load_model(ModelSpec("test_vit", image_size=96)).graph.image_shape == (3, 96, 96)


def test_the_digest_is_the_same_in_another_process(loaded: LoadedModel) -> None:
    code = f"from splitd.calibration.model.models import *; print(load_model(ModelSpec('{TIMM_NAME}')).digest)"
    environment = {**os.environ, "PYTHONHASHSEED": "99", "PYTHONWARNINGS": "ignore"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == loaded.digest
    assert len(bytes.fromhex(loaded.digest)) == 16


def test_the_digest_covers_weights_preprocessing_and_size(loaded: LoadedModel, other: LoadedModel) -> None:
    other_mean = replace(loaded.preprocessing, mean=(0.1, 0.2, 0.3))
    digests = {
        loaded.digest,
        other.digest,
        load_model(ModelSpec(TIMM_NAME, image_size=96)).digest,
        model_digest(loaded.graph, other_mean),
    }
    assert len(digests) == 4
    assert model_digest(loaded.graph, loaded.preprocessing) == loaded.digest


def test_one_flipped_bit_of_one_weight_changes_the_digest(loaded: LoadedModel) -> None:
    bits = next(loaded.module.parameters()).view(torch.int32).flatten()
    bits[-1] ^= 1
    assert model_digest(loaded.graph, loaded.preprocessing) != loaded.digest
    bits[-1] ^= 1
    assert model_digest(loaded.graph, loaded.preprocessing) == loaded.digest


def test_random_weights_are_defined_exactly_on_every_machine() -> None:
    layer = nn.Conv2d(2, 2, 1, bias=False)
    randomise(layer, seed=5)
    # sqrt(6 / 2) times (bits * 2**-23 - 1), bits from Philox with the key (5, crc32("weight")).
    assert [value.hex() for value in layer.weight.flatten().tolist()] == EXPECTED_RANDOM


def test_loading_leaves_the_processes_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    load_model(ModelSpec("test_resnet"))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", ["safetensors", "plain", "wrapped"])
def test_weights_come_from_a_file(kind: str, other: LoadedModel, tmp_path: Path) -> None:
    state = other.module.state_dict()
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}} if kind == "wrapped" else state, path)
    assert load_model(ModelSpec(TIMM_NAME, str(path))).digest == other.digest


def test_weights_of_another_model_are_refused_with_the_first_differences(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"conv_stem.weight": torch.zeros(1), "foreign": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"does not fit.*conv_stem\.weight has shape \(1,\).*more"):
        load_model(ModelSpec(TIMM_NAME, str(path)))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04garbage"])
def test_damaged_weights_are_model_errors(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match="weights"):
        load_model(ModelSpec(TIMM_NAME, str(tmp_path / name)))


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    torch.save(small_network(), tmp_path / "whole.pth")
    with pytest.raises(ModelError, match="more than tensors"):
        load_model(ModelSpec(TIMM_NAME, str(tmp_path / "whole.pth")))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec("efficientnet_b00"), "did you mean efficientnet_b0"),
        (ModelSpec("efficientnet_b0.no_such_tag"), "timm cannot build"),
        (ModelSpec(TIMM_NAME, "/nowhere/weights.safetensors"), "there is no file /nowhere/weights.safetensors"),
        (ModelSpec(TIMM_NAME, "random:many"), "random:SEED"),
        (ModelSpec("/nowhere/model.pt2"), "no exported program"),
        (ModelSpec("no_such_package:function"), "No module named"),
    ],
)
def test_what_cannot_be_found_is_named(spec: ModelSpec, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(spec)


def test_pretrained_weights_without_a_network_fail_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "https://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"cannot be fetched.*give weights: PATH"):
        load_model(ModelSpec("resnet10t", "pretrained"))
    assert time.monotonic() - started < 15


def test_a_function_of_the_users_own(functions: str) -> None:
    first = load_model(ModelSpec(f"{functions}:small", "random:4", image_size=40))
    assert first.graph.image_shape == (3, 40, 40)
    assert load_model(ModelSpec(f"{functions}:small", "random:4", image_size=40)).digest == first.digest
    partition = Partition(first, find_cuts(first.graph, "op"))
    partition.verify(torch.rand(3, 3, 40, 40))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("number", "returned int"),
        ("failing", "no such thing"),
        ("absent", "absent"),
        ("Branching", "cannot be exported"),
        ("OneSample", "cannot be exported|batch"),
    ],
)
def test_functions_that_give_no_usable_model(functions: str, function: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(ModelSpec(f"{functions}:{function}", image_size=32))


def test_an_exported_program_runs_as_the_module_it_came_from(tmp_path: Path) -> None:
    module = save_program(tmp_path / "small.pt2", preprocessing=json.dumps({"mean": [0, 0, 0], "std": [1, 1, 1]}))
    loaded = load_model(ModelSpec(str(tmp_path / "small.pt2")))
    assert loaded.preprocessing.size == (3, 32, 32)
    assert loaded.preprocessing.std == (1, 1, 1)
    cuts = find_cuts(loaded.graph, "block")
    assert [cut.name for cut in cuts] == ["0", "1", "2"]
    partition = Partition(loaded, cuts)
    for batch in (1, 2, 5):
        x = torch.rand(batch, 3, 32, 32)
        partition.verify(x)
        assert torch.equal(partition.tail(0, (x,))[0], module(x))


def test_an_exported_program_takes_weights_of_a_file(tmp_path: Path) -> None:
    module = save_program(tmp_path / "small.pt2")
    state = {name: torch.full_like(value, 0.5) for name, value in module.state_dict().items()}
    save_file(state, tmp_path / "half.safetensors")
    loaded = load_model(ModelSpec(str(tmp_path / "small.pt2"), str(tmp_path / "half.safetensors")))
    module.load_state_dict(state)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(Partition(loaded, ()).tail(0, (x,))[0], module(x))
    assert torch.equal(loaded.module(x), module(x))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "not valid"),
        ("[]", "not valid"),
        ('{"mean": "x"}', "preprocessing"),
        ('{"crop_pct": []}', "preprocessing"),
    ],
)
def test_a_program_with_bad_preprocessing_is_refused(document: str, message: str, tmp_path: Path) -> None:
    save_program(tmp_path / "small.pt2", preprocessing=document)
    with pytest.raises(ModelError, match=message):
        load_model(ModelSpec(str(tmp_path / "small.pt2")))


def test_a_program_for_one_batch_size_is_refused_and_says_how_to_export(tmp_path: Path) -> None:
    save_program(tmp_path / "fixed.pt2", dynamic=False)
    with pytest.raises(ModelError, match="dynamic_shapes"):
        load_model(ModelSpec(str(tmp_path / "fixed.pt2")))


def test_a_program_for_another_image_size_is_refused(tmp_path: Path) -> None:
    save_program(tmp_path / "small.pt2")
    with pytest.raises(ModelError, match="32 pixel images, not 64"):
        load_model(ModelSpec(str(tmp_path / "small.pt2"), image_size=64))


def test_a_damaged_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.pt2").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ModelError, match="no program"):
        load_model(ModelSpec(str(tmp_path / "bad.pt2")))
