"""Executors: every cut gives the reference's answer for any batch; what is built is kept, and mended when damaged."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from splitd.agent.configuration.schema import ExecutorChoice
from splitd.calibration.chain import Engine
from splitd.calibration.executors import AUTO, EXECUTORS, BuildPlan, Found, Missing
from splitd.calibration.measure import MAX_RELATIVE_ERROR
from splitd.calibration.model import ModelSpec, find_cuts, load_model
from splitd.calibration.torch_chain import TorchSource, open_torch
from splitd.errors import ModelError
from tests.support.chains import engine_on, source_of

TINY = ModelSpec("tests.support.tiny:make", "random:1", 64)
VIT = ModelSpec("tests.support.small_models:vit", "random:1", 64)
SWIN = ModelSpec("tests.support.small_models:swin", "random:1", 56)  # its windows are folded into the batch


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where segments are kept between these tests: exporting one takes a second."""
    return tmp_path_factory.mktemp("executors")


@cache
def source(spec: ModelSpec) -> TorchSource:
    return open_torch(spec, threads=1, cuts="all")


@cache
def short_chain() -> TorchSource:
    """Two segments: a compiler takes some seconds for each."""
    loaded = load_model(TINY)
    return source_of(loaded, find_cuts(loaded.graph, "block")[2:3])


def assert_every_cut_agrees(ours: Engine, theirs: Engine) -> None:
    theirs.verify()
    shape = ours.description.input
    for batch in range(1, 6):
        x = np.random.default_rng(batch).standard_normal(shape.at(batch)).astype(np.float32)
        (expected,) = ours.tail(0, ours.to_input(x))
        for k in range(ours.last + 1):
            crossing = ours.to_arrays(ours.head(k, ours.to_input(x)))
            (found,) = theirs.tail(k, theirs.from_arrays(crossing))
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() <= MAX_RELATIVE_ERROR * np.abs(expected).max()


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("spec", [TINY, VIT, SWIN], ids=["tiny", "vit", "swin"])
def test_every_cut_gives_the_references_answer_for_any_batch(spec: ModelSpec, name: str, kept: Path) -> None:
    chain = source(spec)
    runner = EXECUTORS[name].build(chain, threads=1, cache_dir=kept)
    assert (runner.name, runner.threads, runner.device) == (name, 1, "cpu")
    assert_every_cut_agrees(engine_on(chain), Engine(chain.description, runner))


def test_compiled_segments_give_the_references_answer_and_are_found_again(kept: Path) -> None:
    chain, inductor = short_chain(), EXECUTORS["inductor"]
    runner = inductor.build(chain, threads=1, cache_dir=kept)
    assert_every_cut_agrees(engine_on(chain), Engine(chain.description, runner))
    assert inductor.ready(BuildPlan(chain, cache_dir=kept)) == chain.description.last


def test_torch_is_bit_identical_to_the_unsplit_network() -> None:
    chain = source(TINY)
    engine = Engine(chain.description, EXECUTORS["torch"].build(chain, threads=1))
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = chain.loaded.module(x).numpy()
    for k in range(engine.last + 1):
        live = engine.head(k, engine.to_input(x.numpy()))
        np.testing.assert_array_equal(engine.tail(k, live)[0], expected)


def test_what_was_exported_is_not_exported_again(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = source(TINY)
    EXECUTORS["onnxruntime"].build(chain, threads=1, cache_dir=kept)
    monkeypatch.setattr(chain, "onnx", lambda i: pytest.fail(f"segment {i} was exported again"))
    EXECUTORS["openvino"].build(chain, threads=1, cache_dir=kept)
    assert EXECUTORS["openvino"].ready(BuildPlan(chain, cache_dir=kept)) == chain.description.last


@pytest.mark.parametrize("damage", [b"", b"not a segment", None], ids=["empty", "replaced", "a bit flipped"])
def test_a_damaged_segment_is_made_anew(damage: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chain, onnxruntime = short_chain(), EXECUTORS["onnxruntime"]
    onnxruntime.build(chain, threads=1, cache_dir=tmp_path)
    first, *_ = sorted(path for path in tmp_path.rglob("0") if path.is_file())
    good = first.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    first.write_bytes(bytes(flipped) if damage is None else damage)
    runner = onnxruntime.build(chain, threads=1, cache_dir=tmp_path)
    assert "damaged; it is made anew" in caplog.text
    Engine(chain.description, runner).verify()
    assert onnxruntime.piece(BuildPlan(chain, cache_dir=tmp_path), 0) in first.read_bytes()


def test_a_folder_that_cannot_be_written_costs_no_more_than_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "executors").write_text("in the way")
    chain = short_chain()
    runner = EXECUTORS["onnxruntime"].build(chain, threads=1, cache_dir=tmp_path / "executors")
    Engine(chain.description, runner).verify()
    assert "cannot be written" in caplog.text


def test_the_registry_knows_what_is_missing_and_how_to_get_it() -> None:
    found = {name: executor.find("cpu") for name, executor in EXECUTORS.items()}
    assert {name for name, one in found.items() if isinstance(one, Found)} >= {"torch", "onnxruntime", "openvino"}
    tensorrt = found["tensorrt"]
    assert isinstance(tensorrt, Missing)
    assert tensorrt.remedy


def test_there_is_no_compiled_chain_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert EXECUTORS["inductor"].find("cpu") == Missing("there is no C++ compiler", "apt install g++")


def test_a_bundle_has_no_segments_in_torch() -> None:
    class Bundled:
        description = short_chain().description

        def onnx(self, i: int) -> bytes:
            return short_chain().onnx(i)

        def torch_chain(self) -> None:
            return None

        def reference(self) -> None:
            return None

    with pytest.raises(ModelError, match="only its bundle"):
        EXECUTORS["torch"].build(Bundled())


def test_a_configuration_may_name_every_executor() -> None:
    assert set(get_args(ExecutorChoice)) == {AUTO, *EXECUTORS}
