"""`splitd export` writes a bundle that computes what the network computes; `splitd inspect` shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from splitd.agent.commands.cli import cli, main
from splitd.calibration.bundle import Bundle, open_bundle, relative_error
from splitd.calibration.executors import EXECUTORS
from splitd.calibration.model import ModelSpec, load_model
from splitd.calibration.torch_chain import TorchSource
from splitd.errors import ModelError

TINY = ("tests.support.tiny:make", "--weights", "random:1", "--image-size", "64")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


def document(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def exported(folder: Path) -> Any:
    samples = folder / "samples"
    samples.mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (80, 90, 3), np.uint8)
        Image.fromarray(pixels).save(samples / f"{i}.png")
    labels = folder / "labels.txt"
    labels.write_text("".join(f"class {i}\n" for i in range(10)))
    preprocessing = folder / "preprocessing.yaml"
    preprocessing.write_text("mean: [0.1, 0.2, 0.3]\nstd: [0.5, 0.5, 0.5]\ncrop_mode: squash\n")
    options = ("--samples", samples, "--labels", labels, "--preprocessing", preprocessing)
    return document("export", *TINY, *options, "-o", folder / "tiny.splitd")


@pytest.fixture(scope="module")
def bundle(exported: Any) -> Bundle:
    return open_bundle(Path(exported["bundle"]))


def test_every_cut_is_checked_against_the_network(exported: Any, bundle: Bundle) -> None:
    assert [cut["name"] for cut in exported["cuts"]] == list(bundle.description.names)
    assert all(cut["relative_error"] < 1e-5 for cut in exported["cuts"])
    assert exported["digest"] == bundle.description.digest
    assert exported["bytes"] == bundle.path.stat().st_size


def test_the_bundle_computes_its_reference(bundle: Bundle) -> None:
    reference = bundle.reference()
    assert reference is not None
    assert reference.samples == 2
    runner = EXECUTORS["onnxruntime"].build(bundle, device="cpu", threads=1, cache_dir=None)
    live = runner.to_live((reference.inputs,))
    for i in range(bundle.description.last):
        live = runner.segment(i, live)
    np.testing.assert_allclose(runner.to_arrays(live)[0], reference.outputs[0], rtol=1e-4, atol=1e-6)


def test_what_was_given_is_in_it_and_inspect_shows_it(exported: Any, bundle: Bundle) -> None:
    shown = document("inspect", bundle.path)
    assert shown["labels"] == [f"class {i}" for i in range(10)]
    assert shown["preprocessing"]["mean"] == [0.1, 0.2, 0.3]
    assert shown["preprocessing"]["crop_mode"] == "squash"
    assert (shown["digest"], shown["file_digest"]) == (exported["digest"], exported["file_digest"])
    assert [cut["name"] for cut in shown["cuts"]] == list(bundle.description.names)
    assert shown["reference_samples"] == 2
    text = run("inspect", bundle.path).stdout
    assert "blocks.3" in text
    assert "class 0, class 1" in text
    assert exported["digest"] in text.replace("\n", "")


def test_the_graphs_hold_no_notes_of_the_machine_that_exported_them(bundle: Bundle) -> None:
    for i in range(bundle.description.last):
        model = onnx.load_from_string(bundle.onnx(i))
        assert not model.functions
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
        assert str(Path(__file__).parents[2]).encode() not in bundle.onnx(i)


def test_the_digest_is_the_networks(folder: Path) -> None:
    made = document("export", *TINY, "--cuts", "compressive", "-o", folder / "plain.splitd")
    assert made["digest"] == load_model(ModelSpec(TINY[0], "random:1", 64)).digest
    assert [cut["name"] for cut in made["cuts"]][1:-1] == ["blocks.0", "blocks.1", "blocks.3", "blocks.5"]


def test_a_timm_classifier_gets_timms_names(folder: Path) -> None:
    document("export", "test_efficientnet", "--cuts", "compressive", "-o", folder / "timm.splitd")
    shown = document("inspect", folder / "timm.splitd")
    assert len(shown["labels"]) == 1000
    assert shown["labels"][281] == "tabby, tabby cat"


def test_what_computes_something_else_is_not_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: TorchSource, i: int) -> bytes:
        model = onnx.load_from_string(right(self, i))
        for tensor in model.graph.initializer:
            if tensor.raw_data and len(tensor.dims) == 4:
                tensor.raw_data = bytes(len(tensor.raw_data))
        return model.SerializeToString()

    right = TorchSource.onnx
    monkeypatch.setattr(TorchSource, "onnx", wrong)
    with pytest.raises(ModelError, match=r"differs from the network at blocks\.0"):
        run("export", *TINY, "-o", folder / "wrong.splitd")
    assert not (folder / "wrong.splitd").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "missing.txt"), "missing.txt"),
        (("--labels", __file__), "but the network has 10 classes"),
        (("--preprocessing", "missing.yaml"), "missing.yaml"),
        (("--preprocessing", "wrong.yaml"), "wrong.yaml:1: meen: unknown key; did you mean `mean`?"),
        (("--samples", "missing"), "missing"),
    ],
)
def test_what_cannot_be_used_is_one_message(
    tmp_path: Path, options: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("wrong.yaml").write_text("meen: [1, 2, 3]\n")
    with pytest.raises(SystemExit) as ended:
        main(["export", *TINY, *options, "-o", "x.splitd"])
    assert ended.value.code in {1, 2}
    assert message in capsys.readouterr().err
    assert not Path("x.splitd").exists()


def test_a_bundle_is_cut_already(bundle: Bundle) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", str(bundle.path), "--granularity", "op"])


def test_the_error_of_a_cut_is_a_share_of_its_range() -> None:
    exact = np.array([1.0, -4.0], np.float32)
    assert relative_error(exact, np.array([1.0, -3.0], np.float32)) == 0.25
    assert relative_error(exact, exact[:1]) == float("inf")
    assert np.isnan(relative_error(exact, np.array([np.nan, 0], np.float32)))
    assert relative_error(exact[:0], exact[:0]) == 0
